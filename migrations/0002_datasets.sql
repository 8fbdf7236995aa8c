-- Datasets as tables: versions that never change, rows in compressed chunks, refused lines, and the
-- imports that made them. The rules of the first migration hold here too.
--
-- `dataset` keeps its name and becomes the list of versions. Bytes of new versions lie in
-- `dataset_file`, once for each content, in parts, so that a new mapping of a file repeats nothing.
-- Rows of before keep their bytes in place; they are read through the same import when a tool asks.

alter table dataset
    alter column bytes drop not null,
    add column sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
    add column mapping_sha256 text check (mapping_sha256 ~ '^[0-9a-f]{64}$'),
    add column file_name text not null default '',
    add column size bigint,
    add column mapping jsonb,
    add column report jsonb,
    add column created_by text not null default '',
    add constraint dataset_has_bytes check (bytes is not null or sha256 is not null),
    add constraint dataset_once unique (tenant_id, dataset_id, sha256, mapping_sha256);

-- Which version is the current one. A deleted dataset keeps its versions until it is purged.
create table dataset_head (
    tenant_id uuid not null references tenant,
    dataset_id text not null check (length(dataset_id) between 1 and 128),
    version integer not null,
    deleted_at timestamptz,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, dataset_id),
    foreign key (tenant_id, dataset_id, version) references dataset
);

create table dataset_file (
    tenant_id uuid not null references tenant,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    part integer not null,
    body bytea not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, sha256, part)
);

-- A few thousand rows of neighbouring sites and times. The bounds let a reader skip a chunk without
-- reading it; they are in C order because the server compares bytes.
create table dataset_chunk (
    tenant_id uuid not null,
    dataset_id text not null,
    version integer not null,
    chunk integer not null,
    row_count integer not null,
    site_min text collate "C",
    site_max text collate "C",
    time_min bigint,
    time_max bigint,
    body bytea not null,
    primary key (tenant_id, dataset_id, version, chunk),
    foreign key (tenant_id, dataset_id, version) references dataset on delete cascade
        deferrable initially deferred
);
-- Chunks and parts are compressed before they come here; a second try costs time and saves nothing.
alter table dataset_chunk alter column body set storage external;
alter table dataset_file alter column body set storage external;

create table dataset_reject (
    tenant_id uuid not null,
    dataset_id text not null,
    version integer not null,
    ordinal integer not null,
    line bigint not null,
    column_name text not null,
    value text not null,
    reason text not null,
    fix text not null,
    primary key (tenant_id, dataset_id, version, ordinal),
    foreign key (tenant_id, dataset_id, version) references dataset on delete cascade
        deferrable initially deferred
);

create table dataset_import (
    tenant_id uuid not null references tenant,
    import_id uuid not null,
    dataset_id text not null,
    file_name text not null,
    state text not null check (state in ('running', 'done', 'failed')),
    share double precision not null default 0,
    rows bigint not null default 0,
    refused bigint not null default 0,
    version integer,
    repeated boolean not null default false,
    code text,
    message text,
    started_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, import_id)
);

do $$
declare
    name text;
begin
    foreach name in array array['dataset_head', 'dataset_file', 'dataset_chunk', 'dataset_reject',
                                'dataset_import']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy own_rows on %I for all to tessera_rt '
            'using (tenant_id = (select nullif(current_setting(''tessera.tenant_id'', true), '''')::uuid)) '
            'with check (tenant_id = (select nullif(current_setting(''tessera.tenant_id'', true), '''')::uuid))',
            name);
    end loop;
end
$$;

grant delete on dataset to tessera_rt;
grant select, insert, delete on dataset_file, dataset_chunk, dataset_reject to tessera_rt;
grant select, insert, update, delete on dataset_head, dataset_import to tessera_rt;

-- The newest version of each dataset of before is its current one. The owner sees no rows while its
-- own policy is forced, so that is lifted for the copy.
alter table dataset no force row level security;
alter table dataset_head no force row level security;
insert into dataset_head (tenant_id, dataset_id, version)
select tenant_id, dataset_id, max(version) from dataset group by tenant_id, dataset_id;
alter table dataset force row level security;
alter table dataset_head force row level security;
