-- “Activate later”: how often somebody said it. `who` is a keyed tag of the subject; the chain holds a tag over `salt` and `who`, so
-- that with the row goes the person.
CREATE TABLE deferrals (
    who   BLOB    NOT NULL PRIMARY KEY,
    salt  BLOB    NOT NULL,
    count INTEGER NOT NULL,
    last  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER deferrals_rise BEFORE UPDATE OF count ON deferrals WHEN NEW.count < OLD.count
BEGIN SELECT RAISE(ABORT, 'what was put off once was put off'); END;

-- Operators whose authority is frozen until somebody else lifts it: one row each.
CREATE TABLE freezes (
    operator INTEGER NOT NULL PRIMARY KEY,
    since    INTEGER NOT NULL,
    why      TEXT    NOT NULL
) STRICT;

-- Alarms are entries of the journal, found without reading it all. In canonical JSON a quote within a text is escaped, so that no
-- text can look like the member.
CREATE INDEX journal_alarms ON journal (seq) WHERE instr(payload, '"event":"anomaly.raised"') > 0;
