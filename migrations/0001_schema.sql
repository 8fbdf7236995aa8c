-- The tenant schema. Rules that the start-up test reads from the catalogue:
-- * a table with tenant data has `tenant_id` first in every key, forced row-level security and one policy;
-- * text + check instead of enums, because enum comparison is not leakproof and would lose its index;
-- * identifiers are UUIDv7 made by the server, because a sequence tells one tenant how busy the others are.
-- `directory`, `credential` and `run_queue` are the routing tables: they are read before a tenant is known,
-- so they stand outside row-level security and hold identifiers, hashes and times, nothing else.

create table directory (
    slug text primary key check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    tenant_id uuid not null unique
);

create table credential (
    hash bytea primary key check (length(hash) = 32),
    kind text not null check (kind in ('key', 'link', 'session')),
    tenant_id uuid not null
);
create index credential_of_tenant on credential (tenant_id, kind);

create table run_queue (
    tenant_id uuid not null,
    run_id uuid not null,
    ready_at timestamptz not null default now(),
    lease_owner uuid,
    lease_until timestamptz,
    attempt integer not null default 0,
    primary key (tenant_id, run_id)
);
create index run_queue_ready on run_queue (ready_at, run_id);

create table tenant (
    tenant_id uuid primary key,
    slug text not null,
    name text not null check (length(name) between 1 and 200),
    pack text not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    timezone text not null,
    created_at timestamptz not null default now()
);

create table api_key (
    tenant_id uuid not null references tenant,
    key_id uuid not null,
    label text not null,
    prefix text not null,
    hash bytea not null,
    scopes text[] not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, key_id),
    unique (tenant_id, hash)
);

create table login_link (
    tenant_id uuid not null references tenant,
    hash bytea not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    primary key (tenant_id, hash)
);

create table session (
    tenant_id uuid not null references tenant,
    hash bytea not null,
    subject text not null,
    csrf text not null,
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, hash)
);

create table dataset (
    tenant_id uuid not null references tenant,
    dataset_id text not null check (length(dataset_id) between 1 and 128),
    version integer not null,
    media_type text not null,
    bytes bytea not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, dataset_id, version)
);

create table document (
    tenant_id uuid not null references tenant,
    document_id text not null check (length(document_id) between 1 and 128),
    version integer not null,
    title text not null,
    lang text not null,
    source text not null,
    body text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, document_id, version)
);

create table run (
    tenant_id uuid not null references tenant,
    run_id uuid not null,
    agent text not null,
    pack text not null,
    request text not null,
    lang text not null,
    status text not null check (status in ('queued', 'running', 'waiting_approval', 'waiting_input',
                                           'done', 'refused', 'failed', 'cancelled')),
    idempotency_key text check (length(idempotency_key) between 1 and 255),
    request_sha256 text not null,
    model text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, run_id),
    unique (tenant_id, idempotency_key)
);

create table run_event (
    tenant_id uuid not null,
    run_id uuid not null,
    seq bigint not null,
    type text not null,
    payload jsonb not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, run_id, seq),
    foreign key (tenant_id, run_id) references run
);

create table approval (
    tenant_id uuid not null,
    approval_id uuid not null,
    run_id uuid not null,
    call_index integer not null,
    tool text not null,
    arguments jsonb not null,
    arguments_sha256 text not null,
    status text not null check (status in ('pending', 'approved', 'rejected', 'expired')),
    decided_by text,
    reason text,
    expires_at timestamptz not null,
    decided_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, approval_id),
    unique (tenant_id, run_id, call_index),
    foreign key (tenant_id, run_id) references run
);

create table effect_ledger (
    tenant_id uuid not null references tenant,
    idempotency_key text not null check (length(idempotency_key) between 1 and 255),
    tool text not null,
    arguments_sha256 text not null,
    arguments jsonb not null,
    state text not null check (state in ('started', 'done', 'unknown')),
    reference text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, idempotency_key)
);

create table usage (
    tenant_id uuid not null,
    run_id uuid not null,
    calls integer not null,
    prompt_tokens bigint not null,
    decoded_tokens bigint not null,
    plan_ms double precision not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, run_id),
    foreign key (tenant_id, run_id) references run
);

-- One policy a table, written by one loop so that none can differ.
do $$
declare
    name text;
begin
    foreach name in array array['tenant', 'api_key', 'login_link', 'session', 'dataset', 'document', 'run',
                                'run_event', 'approval', 'effect_ledger', 'usage']
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

-- The runtime role gets what the server does and no more: a journal and a ledger are never rewritten.
grant select, insert on directory, tenant, dataset, document, run_event, usage to tessera_rt;
grant select, insert, delete on credential to tessera_rt;
grant select, insert, update, delete on run_queue to tessera_rt;
grant select, insert, update on api_key, login_link, session, run, approval, effect_ledger to tessera_rt;
grant delete on session to tessera_rt;
