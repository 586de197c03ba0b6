-- What a bridge of the first schema left behind. Never edited: later schemas have to bring this along.
-- BYTES is the engine's word for bytes.
INSERT INTO boots (id, number) VALUES (1, 1700000000);
INSERT INTO journal_transactions (txn_id, accepted_at, events, sending, settled, settled_at) VALUES
    (CAST('settled' AS BYTES), 5000, 1, CAST('' AS BYTES), CAST('x' AS BYTES), 6000),
    (CAST('open' AS BYTES), 7000, 9, CAST('!' AS BYTES), CAST('@~' AS BYTES), NULL);
INSERT INTO journal_bodies (txn, events) VALUES (2, '["0","1","2","3","4","5","6","7","8"]');
INSERT INTO journal_event_ids (event_id, txn) VALUES (CAST('$seen' AS BYTES), 1), (CAST('$open' AS BYTES), 2);
INSERT INTO journal_lines (epoch, seq, link, happened_at, body, settled_at) VALUES
    (1, 0, '["libera","bot"]', 1000, NULL, 2000),
    (1, 1, '["libera",{"puppet":"@alice:example.org"}]', 3000,
     '{"text":{"source":{"nick":"bob","user":"b","host":null},"target":{"channel":{"name":"#footbridge","status":null}},"kind":"privmsg","text":"hello","msgid":null,"account":null}}',
     NULL);
INSERT INTO portals (room, network, folded, channel, channel_key, kind) VALUES
    ('!a:example.org', 'libera', '#foo{}', '#Foo[]', 's3cret', 'plumbed'),
    ('!b:example.org', 'libera', '#bar', '#bar', NULL, 'joined');
INSERT INTO queries (network, user_id, folded, nick, room) VALUES ('libera', '@alice:example.org', 'bob', 'Bob', '!q:example.org');
INSERT INTO puppets (network, user_id, username, nick) VALUES ('libera', '@alice:example.org', 'alice', 'alice[m]');
INSERT INTO username_counters (network, stem, last) VALUES ('libera', 'alice', 41);
INSERT INTO ghosts (localpart, network, nick, display_name) VALUES ('irc_libera_bob', 'libera', 'Bob', 'Bob');
INSERT INTO control_rooms (user_id, room) VALUES ('@alice:example.org', '!c:example.org');
INSERT INTO network_facts (network, isupport) VALUES ('libera',
    '{"casemapping":"rfc1459","chantypes":"#","prefix":[["o","@"],["v","+"]],"chanmodes":["b","k","l","imnpst"],"statusmsg":"","nicklen":16,"userlen":null,"namelen":null,"channellen":50,"topiclen":390,"kicklen":250,"linelen":512,"modes":4,"max_join_targets":null,"whox":true,"network":"Libera.Chat","bot_mode":null,"utf8only":false}');
