-- The bridge's own counter of starts: one row.
CREATE TABLE boots (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL
);

-- The journal, Matrix side. What changes often (the bitmaps) is kept apart from what is large (the bodies), so that
-- recording progress never rewrites a body.
CREATE TABLE journal_transactions (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    txn_id      BLOB NOT NULL UNIQUE,
    accepted_at BIGINT NOT NULL,
    events      BIGINT NOT NULL,
    sending     BLOB NOT NULL,
    settled     BLOB NOT NULL,
    settled_at  BIGINT
);
CREATE INDEX journal_transactions_settled_at ON journal_transactions (settled_at);

CREATE TABLE journal_bodies (
    txn    BIGINT PRIMARY KEY,
    events TEXT NOT NULL
);

CREATE TABLE journal_event_ids (
    event_id BLOB PRIMARY KEY,
    txn      BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX journal_event_ids_txn ON journal_event_ids (txn);

-- The journal, IRC side. Epoch and number are unsigned 64-bit numbers stored as signed ones; `n` is the order of acceptance.
CREATE TABLE journal_lines (
    n           INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch       BIGINT NOT NULL,
    seq         BIGINT NOT NULL,
    link        TEXT NOT NULL,
    happened_at BIGINT NOT NULL,
    body        TEXT,
    settled_at  BIGINT,
    UNIQUE (epoch, seq)
);
CREATE INDEX journal_lines_settled_at ON journal_lines (settled_at);

-- The directory: who and what is bridged to whom and what.
CREATE TABLE portals (
    room        TEXT NOT NULL,
    network     TEXT NOT NULL,
    folded      TEXT NOT NULL,
    channel     TEXT NOT NULL,
    channel_key TEXT,
    kind        TEXT NOT NULL,
    PRIMARY KEY (room, network, folded)
);

CREATE TABLE queries (
    network TEXT NOT NULL,
    user_id TEXT NOT NULL,
    folded  TEXT NOT NULL,
    nick    TEXT NOT NULL,
    room    TEXT NOT NULL,
    PRIMARY KEY (network, user_id, folded)
);
CREATE INDEX queries_room ON queries (room);

CREATE TABLE puppets (
    network  TEXT NOT NULL,
    user_id  TEXT NOT NULL,
    username TEXT NOT NULL,
    nick     TEXT,
    PRIMARY KEY (network, user_id),
    UNIQUE (network, username)
);

-- The last number that was tried behind a username's stem.
CREATE TABLE username_counters (
    network TEXT NOT NULL,
    stem    TEXT NOT NULL,
    last    BIGINT NOT NULL,
    PRIMARY KEY (network, stem)
);

CREATE TABLE ghosts (
    localpart    TEXT PRIMARY KEY,
    network      TEXT NOT NULL,
    nick         TEXT NOT NULL,
    display_name TEXT
);

CREATE TABLE control_rooms (
    user_id TEXT PRIMARY KEY,
    room    TEXT NOT NULL
);
CREATE INDEX control_rooms_room ON control_rooms (room);

CREATE TABLE network_facts (
    network  TEXT PRIMARY KEY,
    isupport TEXT NOT NULL
);
