-- What we did to somebody because of what the other side did, and have to undo when that is undone.
CREATE TABLE sanctions (
    kind    TEXT NOT NULL,
    room    TEXT NOT NULL,
    user_id TEXT NOT NULL,
    network TEXT NOT NULL,
    channel TEXT NOT NULL,
    cause   TEXT NOT NULL,
    detail  TEXT NOT NULL,
    PRIMARY KEY (kind, room, user_id, network, channel, cause)
);
