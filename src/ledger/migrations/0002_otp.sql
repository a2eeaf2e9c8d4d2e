-- OTP tokens: where they came from, how long their papers let them live, and what was learned of their clocks.

ALTER TABLE tokens ADD COLUMN maker TEXT;
ALTER TABLE tokens ADD COLUMN batch TEXT;
ALTER TABLE tokens ADD COLUMN valid_from INTEGER;
ALTER TABLE tokens ADD COLUMN valid_until INTEGER;
CREATE INDEX tokens_batch ON tokens (batch) WHERE batch IS NOT NULL;

-- Every change of an offset, with before and after. `seq` is the journal entry that tells it.
CREATE TABLE drift (
    token       TEXT    NOT NULL REFERENCES tokens (id),
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    source      TEXT    NOT NULL,
    before_ms   INTEGER,
    after_ms    INTEGER NOT NULL,
    seen_before INTEGER,
    PRIMARY KEY (token, seq)
) STRICT, WITHOUT ROWID;
