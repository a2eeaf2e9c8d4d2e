-- The first shape of the ledger. Identifiers are hyphenated lower-case UUIDs (version 7, so that they sort by age), times are
-- milliseconds since the Unix epoch, JSON is canonical (docs/journal.md). STRICT, so that a column holds what it says.

-- What the whole ledger is: `ledger_id` (16 random bytes, bound into the chain) and `key_id` (8 bytes of the sealing key).
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Hot columns of a token. `body` is the member of `binding` that is looked up: credential id or applet device id.
-- `unique_tag` is a keyed tag, held by live tokens only.
CREATE TABLE tokens (
    id            TEXT    NOT NULL PRIMARY KEY,
    kind          TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    revoke_reason TEXT,
    reality       TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    binding       TEXT    NOT NULL,
    body          TEXT,
    unique_tag    BLOB,
    offset_ms     INTEGER NOT NULL,
    watermark     INTEGER,
    sign_count    INTEGER NOT NULL,
    last_seen     INTEGER,
    failures      INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    updated       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tokens_unique ON tokens (unique_tag) WHERE unique_tag IS NOT NULL;
CREATE INDEX tokens_body ON tokens (body) WHERE body IS NOT NULL;
CREATE INDEX tokens_state ON tokens (state);

-- Personal data, outside the chained entries. The chain holds a tag keyed over `salt`: with the row goes the person.
CREATE TABLE personal (
    token   TEXT NOT NULL PRIMARY KEY REFERENCES tokens (id),
    subject TEXT,
    serial  TEXT,
    label   TEXT,
    salt    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX personal_subject ON personal (subject) WHERE subject IS NOT NULL;
CREATE INDEX personal_serial ON personal (serial) WHERE serial IS NOT NULL;

-- Sealed seeds, apart from the rest, so that a page with a seed on it is written seldom and wiped whole.
CREATE TABLE seeds (
    token       TEXT    NOT NULL PRIMARY KEY REFERENCES tokens (id),
    key_id      BLOB    NOT NULL,
    key_version INTEGER NOT NULL,
    nonce       BLOB    NOT NULL,
    sealed      BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE obligations (
    id         TEXT    NOT NULL PRIMARY KEY,
    token      TEXT    NOT NULL REFERENCES tokens (id),
    duty       TEXT    NOT NULL,
    reality    TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    proven     INTEGER,
    discharged INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX obligations_open ON obligations (created, id) WHERE discharged IS NULL;
CREATE INDEX obligations_age ON obligations (created, id);

-- Open operations only: closing one deletes its row. `token` may be one that is not inserted yet.
CREATE TABLE intents (
    operation TEXT    NOT NULL PRIMARY KEY,
    verb      TEXT    NOT NULL,
    token     TEXT,
    phase     TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    salt      BLOB    NOT NULL,
    started   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    seq     INTEGER NOT NULL PRIMARY KEY,
    payload TEXT    NOT NULL,
    mac     BLOB    NOT NULL
) STRICT;

-- One row: how long the chain is, its last MAC, and a MAC over the two.
CREATE TABLE head (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL,
    last  BLOB    NOT NULL,
    mac   BLOB    NOT NULL
) STRICT;

-- Guards against accidents. They stop nobody who can drop them; `verify` is for that, and it looks for them too.
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is only ever added to'); END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is only ever added to'); END;
CREATE TRIGGER tokens_no_delete BEFORE DELETE ON tokens
BEGIN SELECT RAISE(ABORT, 'a token is revoked, never deleted'); END;
CREATE TRIGGER tokens_watermark BEFORE UPDATE OF watermark ON tokens
WHEN OLD.watermark IS NOT NULL AND (NEW.watermark IS NULL OR NEW.watermark < OLD.watermark)
BEGIN SELECT RAISE(ABORT, 'a watermark never goes down'); END;
CREATE TRIGGER tokens_final BEFORE UPDATE OF state ON tokens WHEN OLD.state = 'revoked' AND NEW.state <> 'revoked'
BEGIN SELECT RAISE(ABORT, 'revoked is final'); END;
CREATE TRIGGER tokens_fixed BEFORE UPDATE OF id, kind, reality, created ON tokens
BEGIN SELECT RAISE(ABORT, 'this is fixed when the token is inserted'); END;
