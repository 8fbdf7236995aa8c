-- What leaves and what comes in over HTTP: hosts that may be reached, webhooks both ways. The rules of
-- the first migration hold here too.

-- `only`: when there are any, no other host is reached. `private`: a host that the operator of the
-- machine allows although it is inside.
create table egress_rule (
    tenant_id uuid not null references tenant,
    kind text not null check (kind in ('only', 'private')),
    pattern text not null check (length(pattern) between 1 and 300),
    decided_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, kind, pattern)
);

-- Refusals, counted by day so that a flood of them stays small.
create table egress_refusal (
    tenant_id uuid not null references tenant,
    day date not null default current_date,
    purpose text not null,
    host text not null,
    code text not null,
    count bigint not null default 1,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    primary key (tenant_id, day, purpose, host, code)
);

create table webhook_endpoint (
    tenant_id uuid not null references tenant,
    endpoint_id uuid not null,
    url text not null check (length(url) between 1 and 2000),
    description text not null default '',
    -- Types that it wants; empty for all.
    events text[] not null default '{}',
    -- One after the other, in order of their making; the next waits until the one before got through.
    ordered boolean not null default false,
    enabled boolean not null default true,
    -- Why it is not enabled: `paused`, `gone` (410) or `failing`.
    disabled_because text,
    -- Since when nothing got through; null after a success.
    failing_since timestamptz,
    version integer not null default 1,
    created_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, endpoint_id)
);

create table webhook_secret (
    tenant_id uuid not null,
    endpoint_id uuid not null,
    secret_id uuid not null,
    scheme text not null check (scheme in ('v1', 'v1a')),
    -- Encrypted; bound to this row.
    sealed bytea not null,
    -- What receivers verify by; for `v1a` only.
    public_key text,
    created_at timestamptz not null default now(),
    -- End of the grace after a rotation; null for the current one.
    expires_at timestamptz,
    primary key (tenant_id, endpoint_id, secret_id),
    foreign key (tenant_id, endpoint_id) references webhook_endpoint on delete cascade
);

-- The outbox: written in the transaction of what it tells. The body is kept as it is signed.
create table webhook_event (
    tenant_id uuid not null references tenant,
    event_id uuid not null,
    type text not null,
    -- What it is about, the identifier of a run mostly.
    subject text not null,
    body text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, event_id)
);

create table webhook_delivery (
    tenant_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    state text not null check (state in ('pending', 'delivered', 'failed', 'held')),
    -- Attempts of the present round; a replay begins a new one.
    attempts integer not null default 0,
    last_status integer,
    last_error text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, endpoint_id, event_id),
    foreign key (tenant_id, endpoint_id) references webhook_endpoint on delete cascade,
    foreign key (tenant_id, event_id) references webhook_event on delete cascade
);
create index webhook_delivery_of_event on webhook_delivery (tenant_id, event_id);

create table webhook_attempt (
    tenant_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    attempt_id uuid not null,
    at timestamptz not null,
    ms integer not null,
    status integer,
    error text,
    request jsonb not null,
    response_headers jsonb,
    response_body text,
    primary key (tenant_id, endpoint_id, event_id, attempt_id),
    foreign key (tenant_id, endpoint_id, event_id) references webhook_delivery on delete cascade
);

-- A routing table, read before a tenant is known: identifiers and times only. A row that is taken is
-- put `ready_at` into the future, so that a worker that dies is replaced when that has come; `taken`
-- grows with each claim and fences the one before.
create table webhook_queue (
    tenant_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    ready_at timestamptz not null default now(),
    taken integer not null default 0,
    primary key (tenant_id, endpoint_id, event_id)
);
create index webhook_queue_ready on webhook_queue (tenant_id, endpoint_id, ready_at);

create table webhook_source (
    tenant_id uuid not null references tenant,
    source_id uuid not null,
    name text not null check (length(name) between 1 and 100),
    -- How its signatures are verified, with the names of headers; no secret is in it.
    verifier jsonb not null,
    sealed bytea not null,
    -- How a request is made of a payload.
    mapping jsonb not null,
    enabled boolean not null default true,
    created_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, source_id),
    unique (tenant_id, name)
);

-- What came in and was verified, each once.
create table webhook_inbound (
    tenant_id uuid not null,
    source_id uuid not null,
    external_id text not null check (length(external_id) between 1 and 255),
    inbound_id uuid not null,
    -- `started` made a run; `skipped` was not meant to; `unmapped` had nothing to ask.
    outcome text not null check (outcome in ('started', 'skipped', 'unmapped')),
    detail text not null default '',
    run_id uuid,
    payload text not null,
    repeats integer not null default 0,
    received_at timestamptz not null default now(),
    primary key (tenant_id, source_id, external_id),
    foreign key (tenant_id, source_id) references webhook_source on delete cascade,
    foreign key (tenant_id, run_id) references run
);
create index webhook_inbound_newest on webhook_inbound (tenant_id, source_id, inbound_id desc);

do $$
declare
    name text;
begin
    foreach name in array array['egress_rule', 'egress_refusal', 'webhook_endpoint', 'webhook_secret',
                                'webhook_event', 'webhook_delivery', 'webhook_attempt', 'webhook_source',
                                'webhook_inbound']
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

grant select, insert, delete on egress_rule to tessera_rt;
grant select, insert, update, delete on egress_refusal, webhook_endpoint, webhook_secret, webhook_delivery,
    webhook_queue, webhook_source, webhook_inbound to tessera_rt;
grant select, insert, delete on webhook_event, webhook_attempt to tessera_rt;
