-- One row for each lock: the largest token with which anything was written under it.
CREATE TABLE fence (
    lock  TEXT PRIMARY KEY,
    token BIGINT NOT NULL
);
