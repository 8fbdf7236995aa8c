-- Runs that survive: attempts, threads, effects whose outcome a person settles, budgets that are
-- reserved before a call, switches that stop calls, and schedules. The rules of the first migration
-- hold here too; `schedule_due` is a routing table beside `run_queue`: identifiers and times only.

-- A claim is counted until the journal has grown since: only a run that makes no progress is given up.
alter table run_queue add column seen bigint not null default 0;

-- `waiting_outcome`: it is not known whether an effect happened; a person says.
alter table run drop constraint run_status_check;
alter table run add constraint run_status_check
    check (status in ('queued', 'running', 'waiting_approval', 'waiting_outcome', 'waiting_input',
                      'done', 'refused', 'failed', 'cancelled'));
alter table run add column thread text check (length(thread) between 1 and 128);
create index run_open_in_thread on run (tenant_id, thread, run_id)
    where thread is not null
      and status in ('queued', 'running', 'waiting_approval', 'waiting_outcome');

-- `void`: it surely did not happen, so that it may be tried again under the same key.
alter table effect_ledger drop constraint effect_ledger_state_check;
alter table effect_ledger add constraint effect_ledger_state_check
    check (state in ('started', 'done', 'unknown', 'void'));
alter table effect_ledger
    add column run_id uuid,
    add column settled_by text,
    add column settled_at timestamptz;

-- What may be spent: for all agents (`agent` empty) or one, in each span of `period`.
-- Units: micro-units of the joint venture's currency, tokens, calls, milliseconds.
create table budget (
    tenant_id uuid not null references tenant,
    budget_id uuid not null,
    agent text not null default '' check (length(agent) <= 128),
    resource text not null check (resource in ('money', 'tokens', 'calls', 'wall_ms')),
    period text not null check (period in ('run', 'day', 'total')),
    most bigint not null check (most >= 0),
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id, budget_id),
    unique (tenant_id, agent, resource, period)
);

-- What is spent and reserved in a span: a day of the joint venture's time zone, a run, or `total`.
create table budget_spend (
    tenant_id uuid not null,
    budget_id uuid not null,
    span text not null,
    used bigint not null default 0,
    reserved bigint not null default 0,
    primary key (tenant_id, budget_id, span),
    foreign key (tenant_id, budget_id) references budget on delete cascade
);

-- What a step of a run has reserved and not settled.
create table budget_hold (
    tenant_id uuid not null,
    run_id uuid not null,
    step text not null,
    budget_id uuid not null,
    span text not null,
    amount bigint not null check (amount >= 0),
    primary key (tenant_id, run_id, step, budget_id),
    foreign key (tenant_id, run_id) references run,
    foreign key (tenant_id, budget_id) references budget on delete cascade
);

-- Prices in micro-units: of 1,000 tokens (`token`), a second (`second`), a call (`call`), or a call of
-- one tool (`call:NAME`).
create table price (
    tenant_id uuid not null references tenant,
    item text not null check (item in ('token', 'second', 'call') or item like 'call:_%'),
    micros bigint not null check (micros >= 0),
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id, item)
);

-- What was switched off and on, in order; the last line of a scope and name holds.
create table kill_switch (
    tenant_id uuid not null references tenant,
    scope text not null check (scope in ('jv', 'pack', 'tool')),
    name text not null check (length(name) <= 128),
    seq integer not null,
    off boolean not null,
    why text not null,
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id, scope, name, seq)
);

create table schedule (
    tenant_id uuid not null references tenant,
    schedule_id uuid not null,
    name text not null check (length(name) between 1 and 128),
    cron text not null,
    request text not null,
    thread text check (length(thread) between 1 and 128),
    busy text not null check (busy in ('queue', 'reject', 'interrupt')),
    missed text not null check (missed in ('skip', 'once')),
    enabled boolean not null default true,
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id, schedule_id),
    unique (tenant_id, name)
);

create table schedule_due (
    tenant_id uuid not null,
    schedule_id uuid not null,
    next_at timestamptz not null,
    primary key (tenant_id, schedule_id)
);
create index schedule_due_next on schedule_due (next_at);

-- What became of each planned instant; the key lets no instant start twice. `missed` counts the
-- instants that passed unseen since the one before.
create table schedule_start (
    tenant_id uuid not null,
    schedule_id uuid not null,
    planned_at timestamptz not null,
    outcome text not null check (outcome in ('started', 'missed', 'refused')),
    missed integer not null default 0,
    run_id uuid,
    said text not null default '',
    created_at timestamptz not null default now(),
    primary key (tenant_id, schedule_id, planned_at),
    foreign key (tenant_id, schedule_id) references schedule on delete cascade
);

do $$
declare
    name text;
begin
    foreach name in array array['budget', 'budget_spend', 'budget_hold', 'price', 'kill_switch',
                                'schedule', 'schedule_start']
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

grant select, insert, update, delete on budget, budget_spend, budget_hold, price, schedule, schedule_due
    to tessera_rt;
grant select, insert on kill_switch, schedule_start to tessera_rt;
