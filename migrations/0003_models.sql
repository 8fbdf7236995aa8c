-- Planners of a joint venture: what each is, which one plans, how that came about, and what a planner
-- in the shadow would have done. The rules of the first migration hold here too.
--
-- Files lie outside the database, in a folder named by `digest`. The program's own planner has no row:
-- it plans where no row is live.

create table model (
    tenant_id uuid not null references tenant,
    model_id uuid not null,
    label text not null check (length(label) between 1 and 60),
    pack text not null,
    pack_version text not null,
    base text not null,
    digest text not null check (digest ~ '^[0-9a-f]{64}$'),
    size bigint not null,
    state text not null check (state in ('candidate', 'live', 'shadow', 'retired')),
    verdict jsonb,
    report text,
    created_by text not null,
    created_at timestamptz not null default now(),
    promoted_at timestamptz,
    primary key (tenant_id, model_id),
    unique (tenant_id, label),
    unique (tenant_id, digest)
);
create unique index model_one_live on model (tenant_id) where state = 'live';
create unique index model_one_shadow on model (tenant_id) where state = 'shadow';

-- Never rewritten: which planner took over, and by a promotion or by going back. No model is the
-- program's own planner.
create table model_promotion (
    tenant_id uuid not null references tenant,
    promotion_id uuid not null,
    model_id uuid,
    rollback boolean not null,
    decided_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, promotion_id),
    foreign key (tenant_id, model_id) references model,
    check (rollback or model_id is not null)
);

create table model_job (
    tenant_id uuid not null references tenant,
    job_id uuid not null,
    kind text not null check (kind in ('train', 'gate')),
    label text not null,
    model_id uuid,
    state text not null check (state in ('running', 'done', 'failed')),
    share double precision not null default 0,
    said text not null default '',
    stop boolean not null default false,
    code text,
    message text,
    started_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, job_id),
    foreign key (tenant_id, model_id) references model
);

create table shadow_plan (
    tenant_id uuid not null,
    model_id uuid not null,
    run_id uuid not null,
    differs text not null check (differs in ('none', 'decision', 'tool', 'arguments', 'failed')),
    live jsonb not null,
    shadow jsonb not null,
    live_ms double precision not null,
    shadow_ms double precision not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, model_id, run_id),
    foreign key (tenant_id, model_id) references model,
    foreign key (tenant_id, run_id) references run
);

do $$
declare
    name text;
begin
    foreach name in array array['model', 'model_promotion', 'model_job', 'shadow_plan']
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

grant select, insert on model_promotion, shadow_plan to tessera_rt;
grant select, insert, update on model, model_job to tessera_rt;

-- A key that was permitted everything stays so. The owner sees no rows while its own policy is forced.
alter table api_key no force row level security;
update api_key set scopes = array_append(scopes, 'models:write')
where scopes @> array['runs:read', 'runs:write', 'approvals:write', 'data:write'];
alter table api_key force row level security;
