-- Wrong tries, so that guessing codes is bounded whatever is asked and by whom, and recovery codes.

-- An account: a subject, or a token that has none. `who` is a keyed tag of it; a name that nobody has is counted like any other,
-- so that the count does not tell who exists. The chain holds a tag over `salt` and `who`: with the row goes the account.
-- `spent` is the time at which all its tries in hand will have grown again.
CREATE TABLE tries (
    who   BLOB    NOT NULL PRIMARY KEY,
    salt  BLOB    NOT NULL,
    spent INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each caller (uid) did to an account: wrong tries in a row of his own, and his share of those since anybody last passed.
CREATE TABLE tries_by_caller (
    who    BLOB    NOT NULL REFERENCES tries (who) ON DELETE CASCADE,
    caller INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    share  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (who, caller)
) STRICT, WITHOUT ROWID;

-- What each caller did over all accounts: wrong tries in a row.
CREATE TABLE tries_of_caller (
    caller INTEGER NOT NULL PRIMARY KEY,
    count  INTEGER NOT NULL,
    last   INTEGER NOT NULL
) STRICT;

-- One row a code, hashed (HMAC under a key of the token's own); `used` is when it was used up.
CREATE TABLE recovery_codes (
    token TEXT    NOT NULL REFERENCES tokens (id),
    slot  INTEGER NOT NULL,
    mac   BLOB    NOT NULL,
    used  INTEGER,
    PRIMARY KEY (token, slot)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER recovery_codes_once BEFORE UPDATE OF used ON recovery_codes WHEN OLD.used IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a recovery code is used once'); END;
