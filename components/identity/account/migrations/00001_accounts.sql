-- +goose Up
CREATE TABLE users (
  name     TEXT PRIMARY KEY COLLATE NOCASE,
  hash     TEXT NOT NULL,
  changed  INTEGER NOT NULL -- milliseconds since 1970
) STRICT;

CREATE TABLE roles (
  name     TEXT PRIMARY KEY COLLATE NOCASE
) STRICT;

CREATE TABLE grants (
  role       TEXT NOT NULL COLLATE NOCASE REFERENCES roles (name) ON DELETE CASCADE,
  permission TEXT NOT NULL,
  PRIMARY KEY (role, permission)
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
  user TEXT NOT NULL COLLATE NOCASE REFERENCES users (name) ON DELETE CASCADE,
  role TEXT NOT NULL COLLATE NOCASE REFERENCES roles (name) ON DELETE CASCADE,
  PRIMARY KEY (user, role)
) STRICT, WITHOUT ROWID;

-- Tokens and sessions are kept as SHA-256: a copy of the file signs nobody in.
CREATE TABLE sessions (
  digest  BLOB PRIMARY KEY,
  user    TEXT NOT NULL COLLATE NOCASE REFERENCES users (name) ON DELETE CASCADE,
  created INTEGER NOT NULL,
  seen    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  digest  BLOB PRIMARY KEY,
  purpose TEXT NOT NULL,
  user    TEXT COLLATE NOCASE REFERENCES users (name) ON DELETE CASCADE, -- null: stands for nobody
  expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO roles (name) VALUES ('admin'), ('everyone');
INSERT INTO grants (role, permission) VALUES ('admin', '/permission');
