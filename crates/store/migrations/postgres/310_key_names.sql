-- Keys are searched by a part of their name: with the name in the index, other keys need not be looked at for that.
DROP INDEX api_key_organization;
CREATE INDEX api_key_organization ON api_key (organization_id, id) INCLUDE (name_folded);
