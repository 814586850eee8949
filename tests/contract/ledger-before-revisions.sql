CREATE TABLE buckets (
	factory VARCHAR(255) NOT NULL,
	tokens FLOAT NOT NULL,
	at DATETIME NOT NULL,
	PRIMARY KEY (factory)
);
CREATE TABLE documents (
	release_id VARCHAR(80) NOT NULL,
	kind VARCHAR(64) NOT NULL,
	number INTEGER NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (release_id, kind, number)
);
CREATE TABLE journal (
	line INTEGER NOT NULL,
	release_id VARCHAR(80) NOT NULL,
	at DATETIME NOT NULL,
	phase VARCHAR(32) NOT NULL,
	text TEXT NOT NULL,
	PRIMARY KEY (line)
);
CREATE TABLE releases (
	release_id VARCHAR(80) NOT NULL,
	workload VARCHAR(63) NOT NULL,
	fleet VARCHAR(255) NOT NULL,
	generation INTEGER NOT NULL,
	model VARCHAR(255) NOT NULL,
	version VARCHAR(255) NOT NULL,
	attempt VARCHAR(255) NOT NULL,
	phase VARCHAR(32) NOT NULL,
	admitted_at DATETIME NOT NULL,
	changed_at DATETIME NOT NULL,
	asked_by VARCHAR(255) NOT NULL,
	epoch INTEGER NOT NULL,
	reason TEXT NOT NULL,
	abort_asked TEXT NOT NULL,
	spec TEXT NOT NULL,
	PRIMARY KEY (release_id),
	CONSTRAINT one_release_per_attempt UNIQUE (workload, model, version, attempt),
	CONSTRAINT one_release_per_generation UNIQUE (workload, generation)
);
CREATE TABLE schema_version (
	version INTEGER NOT NULL,
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE workloads (
	workload VARCHAR(63) NOT NULL,
	generation INTEGER NOT NULL,
	holder VARCHAR(255) NOT NULL,
	epoch INTEGER NOT NULL,
	expires_at DATETIME,
	PRIMARY KEY (workload)
);
CREATE INDEX ix_journal_release_id ON journal (release_id);
INSERT INTO workloads VALUES('defects',1,'',3,NULL);
INSERT INTO releases VALUES('defects-1','defects','plant',1,'defect-net','7','','planned','2026-01-05 06:00:00.000000','2026-01-05 06:30:00.000000','poll',3,'qualified','','a: spec');
INSERT INTO journal (release_id,at,phase,text) VALUES('defects-1','2026-01-05 06:00:00.000000','qualifying','admitted');
INSERT INTO journal (release_id,at,phase,text) VALUES('defects-1','2026-01-05 06:30:00.000000','planned','qualified');
INSERT INTO documents VALUES('defects-1','plan',0,X'006120706c616e');
