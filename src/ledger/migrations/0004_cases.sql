-- Cases: who asked what for whom, what was shown, who agreed, how it ended. Stamps are the two counts of authority's clock
-- (`most`: time that has passed at most, `least`: at least), in milliseconds.

CREATE TABLE cases (
    id           TEXT    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    channel      TEXT    NOT NULL,
    opener       INTEGER NOT NULL,
    opened_at    INTEGER NOT NULL,
    opened_most  INTEGER NOT NULL,
    opened_least INTEGER NOT NULL,
    step         TEXT    NOT NULL,
    since_most   INTEGER NOT NULL,
    since_least  INTEGER NOT NULL,
    within_ms    INTEGER NOT NULL,
    escalated    INTEGER NOT NULL,
    outcome      TEXT,
    closed_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX cases_open ON cases (id) WHERE outcome IS NULL;
CREATE INDEX cases_due ON cases (since_most + within_ms) WHERE outcome IS NULL AND escalated = 0;

-- Personal data, outside the chained entries. The chain holds a tag keyed over `salt`: with the row goes the person.
CREATE TABLE case_personal (
    case_id TEXT NOT NULL PRIMARY KEY REFERENCES cases (id),
    subject TEXT,
    ticket  TEXT,
    reason  TEXT,
    salt    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX case_personal_subject ON case_personal (subject) WHERE subject IS NOT NULL;

-- What was said and done in a case. `seq` is the journal entry that tells it; `said` is canonical JSON and names nobody;
-- `reference` is personal, and the chain holds a tag of it keyed over `salt`.
CREATE TABLE case_notes (
    case_id   TEXT    NOT NULL REFERENCES cases (id),
    seq       INTEGER NOT NULL,
    no        INTEGER NOT NULL,
    by        INTEGER,
    at        INTEGER NOT NULL,
    most      INTEGER NOT NULL,
    least     INTEGER NOT NULL,
    said      TEXT    NOT NULL,
    reference TEXT,
    salt      BLOB    NOT NULL,
    PRIMARY KEY (case_id, seq, no)
) STRICT, WITHOUT ROWID;
CREATE INDEX case_notes_denied ON case_notes (case_id) WHERE said = '{"what":"denied"}';

-- One row: what the host's clocks said when time was last kept, and what both counts were then. `boot` is the number of the boot.
CREATE TABLE timekeeper (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    wall    INTEGER NOT NULL,
    boot_ms INTEGER NOT NULL,
    boot    BLOB    NOT NULL,
    most    INTEGER NOT NULL,
    least   INTEGER NOT NULL
) STRICT;

CREATE TRIGGER cases_no_delete BEFORE DELETE ON cases
BEGIN SELECT RAISE(ABORT, 'a case is closed, never deleted'); END;
CREATE TRIGGER cases_final BEFORE UPDATE ON cases WHEN OLD.outcome IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a closed case stays as it is'); END;
CREATE TRIGGER cases_fixed BEFORE UPDATE OF id, kind, channel, opener, opened_at, opened_most, opened_least ON cases
BEGIN SELECT RAISE(ABORT, 'this is fixed when the case is opened'); END;
CREATE TRIGGER case_notes_no_update BEFORE UPDATE OF case_id, seq, no, by, at, most, least, said ON case_notes
BEGIN SELECT RAISE(ABORT, 'what was said in a case is only ever added to'); END;
CREATE TRIGGER case_notes_no_delete BEFORE DELETE ON case_notes
BEGIN SELECT RAISE(ABORT, 'what was said in a case is only ever added to'); END;
CREATE TRIGGER timekeeper_rises BEFORE UPDATE ON timekeeper WHEN NEW.most < OLD.most OR NEW.least < OLD.least
BEGIN SELECT RAISE(ABORT, 'kept time never goes back'); END;
