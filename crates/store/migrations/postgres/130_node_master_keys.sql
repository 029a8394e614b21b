-- Which master keys a process has: another one is put into use only once all have it.
ALTER TABLE node ADD COLUMN master_keys TEXT NOT NULL DEFAULT '';
