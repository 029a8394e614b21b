-- Which web pages of other origins may call a door; null for none.
ALTER TABLE route ADD COLUMN cors TEXT NOT NULL DEFAULT 'null';
