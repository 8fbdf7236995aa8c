-- Outcomes: experiments, what was observed, what runs cost, contracts and statements. The rules of the
-- first migration hold here too. Facts are only ever added: a corrected observation is a further
-- revision, a corrected statement a credit note. Amounts and values are whole millionths.

create table experiment (
    tenant_id uuid not null references tenant,
    name text not null check (name ~ '^[a-z0-9-]{1,64}$'),
    design jsonb not null,
    design_sha256 text not null,
    state text not null default 'draft' check (state in ('draft', 'running', 'ended')),
    end_reason text not null default '',
    created_by text not null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    ended_at timestamptz,
    primary key (tenant_id, name)
);

-- A design is frozen by its start, against every program that connects.
create function experiment_is_frozen() returns trigger language plpgsql as $$
begin
    if old.state <> 'draft' and (new.design is distinct from old.design
            or new.design_sha256 <> old.design_sha256 or new.started_at is distinct from old.started_at) then
        raise exception 'the experiment % has started; its design is frozen', old.name;
    end if;
    if (old.state, new.state) in (('running', 'draft'), ('ended', 'draft'), ('ended', 'running')) then
        raise exception 'the experiment % cannot go back to %', old.name, new.state;
    end if;
    return new;
end
$$;
create trigger experiment_is_frozen before update on experiment
    for each row execute function experiment_is_frozen();

create table experiment_unit (
    tenant_id uuid not null,
    experiment text not null,
    unit text not null check (length(unit) between 1 and 200),
    arm text not null check (arm in ('control', 'treatment')),
    enrolled_at timestamptz not null default now(),
    primary key (tenant_id, experiment, unit),
    foreign key (tenant_id, experiment) references experiment
);

create table observation (
    tenant_id uuid not null references tenant,
    metric text not null,
    observation_id text not null check (length(observation_id) between 1 and 200),
    revision integer not null,
    unit text not null check (length(unit) between 1 and 200),
    at timestamptz not null,
    value_micros bigint not null,
    weight_micros bigint not null,
    source text not null,
    received_at timestamptz not null default now(),
    primary key (tenant_id, metric, observation_id, revision)
);

-- What happened to experiments, contracts, statements and disputes, in order; never rewritten.
create table outcome_event (
    tenant_id uuid not null references tenant,
    seq bigint not null,
    type text not null,
    payload jsonb not null,
    by_whom text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, seq)
);

create table economic_terms (
    tenant_id uuid not null references tenant,
    version integer not null,
    body jsonb not null,
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id, version)
);

-- The time that people took over a run.
create table run_effort (
    tenant_id uuid not null,
    run_id uuid not null,
    review_seconds integer not null check (review_seconds between 0 and 86400),
    rework_seconds integer not null check (rework_seconds between 0 and 864000),
    noted_by text not null,
    noted_at timestamptz not null default now(),
    primary key (tenant_id, run_id),
    foreign key (tenant_id, run_id) references run
);

create table contract (
    tenant_id uuid not null references tenant,
    name text not null check (name ~ '^[a-z0-9-]{1,64}$'),
    experiment text not null,
    body jsonb not null,
    body_sha256 text not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, name),
    foreign key (tenant_id, experiment) references experiment
);

-- `events` is the gzipped JSON of what the statement follows from, so that an export is the same
-- whatever was observed or corrected since.
create table statement (
    tenant_id uuid not null,
    number integer not null,
    contract text not null,
    kind text not null check (kind in ('statement', 'credit_note')),
    corrects integer,
    from_at timestamptz not null,
    to_at timestamptz not null,
    document jsonb not null,
    receipt jsonb not null,
    events bytea not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, number),
    foreign key (tenant_id, contract) references contract,
    foreign key (tenant_id, corrects) references statement (tenant_id, number),
    check ((kind = 'credit_note') = (corrects is not null))
);
create unique index statement_of_period on statement (tenant_id, contract, from_at) where kind = 'statement';

create table dispute (
    tenant_id uuid not null,
    dispute_id uuid not null,
    statement integer not null,
    reason text not null,
    observations jsonb not null,
    state text not null default 'open' check (state in ('open', 'rejected', 'settled')),
    answer text not null default '',
    credit_note integer,
    opened_by text not null,
    opened_at timestamptz not null default now(),
    decided_by text,
    decided_at timestamptz,
    primary key (tenant_id, dispute_id),
    foreign key (tenant_id, statement) references statement (tenant_id, number),
    foreign key (tenant_id, credit_note) references statement (tenant_id, number)
);
create unique index dispute_that_is_open on dispute (tenant_id, statement) where state = 'open';

-- The key that signs a joint venture's statements.
create table signing_key (
    tenant_id uuid not null references tenant,
    version integer not null,
    secret bytea not null check (length(secret) = 32),
    public_key text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, version)
);

do $$
declare
    name text;
begin
    foreach name in array array['experiment', 'experiment_unit', 'observation', 'outcome_event', 'economic_terms',
                                'run_effort', 'contract', 'statement', 'dispute', 'signing_key']
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

grant select, insert on experiment_unit, observation, outcome_event, economic_terms, contract, statement, signing_key
    to tessera_rt;
grant select, insert, update on experiment, run_effort, dispute to tessera_rt;
