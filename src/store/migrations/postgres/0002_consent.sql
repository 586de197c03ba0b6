-- How a portal stands, and by whose will it is.
ALTER TABLE portals ADD COLUMN standing TEXT NOT NULL DEFAULT 'open';
ALTER TABLE portals ADD COLUMN asked_by TEXT;
ALTER TABLE portals ADD COLUMN agreed_by TEXT;
ALTER TABLE portals ADD COLUMN agreed_at BIGINT;

-- Channels that aren't to be bridged, as their operators have said.
CREATE TABLE opt_outs (
    network TEXT NOT NULL,
    folded  TEXT NOT NULL,
    said_by TEXT NOT NULL,
    said_at BIGINT NOT NULL,
    PRIMARY KEY (network, folded)
);
