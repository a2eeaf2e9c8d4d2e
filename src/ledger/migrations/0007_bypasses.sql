-- Emergency bypasses: one for a case at most, so that each rests on evidence and a yes of its own. Whom it is for is said by the case
-- alone. `mac` is a keyed hash of the code; it goes when the bypass has ended or was reviewed. Stamps are the two counts of authority's
-- clock, in milliseconds.
CREATE TABLE bypasses (
    case_id      TEXT    NOT NULL PRIMARY KEY REFERENCES cases (id),
    by           INTEGER NOT NULL,
    issued_at    INTEGER NOT NULL,
    issued_most  INTEGER NOT NULL,
    issued_least INTEGER NOT NULL,
    lasts_ms     INTEGER NOT NULL,
    uses         INTEGER NOT NULL,
    found_again  TEXT    NOT NULL,
    mac          BLOB,
    used         INTEGER NOT NULL,
    wrong        INTEGER NOT NULL,
    last_used    INTEGER,
    ended_at     INTEGER,
    ended_why    TEXT,
    reviewed_at  INTEGER,
    reviewed_by  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX bypasses_unreviewed ON bypasses (case_id) WHERE reviewed_at IS NULL;

CREATE TRIGGER bypasses_no_delete BEFORE DELETE ON bypasses
BEGIN SELECT RAISE(ABORT, 'a bypass ends, and is never deleted'); END;
CREATE TRIGGER bypasses_fixed BEFORE UPDATE OF case_id, by, issued_at, issued_most, issued_least, lasts_ms, uses, found_again ON bypasses
BEGIN SELECT RAISE(ABORT, 'this is fixed when the bypass is issued'); END;
CREATE TRIGGER bypasses_rise BEFORE UPDATE OF used ON bypasses WHEN NEW.used < OLD.used OR NEW.used > OLD.uses
BEGIN SELECT RAISE(ABORT, 'a use is never given back, and there are no more than were granted'); END;
CREATE TRIGGER bypasses_final BEFORE UPDATE ON bypasses WHEN OLD.reviewed_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a bypass that was reviewed stays as it is'); END;
