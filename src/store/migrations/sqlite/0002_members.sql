-- Which ghosts are to be in a room, where somebody has said so.
CREATE TABLE room_members (
    room    TEXT PRIMARY KEY,
    members TEXT NOT NULL
);
