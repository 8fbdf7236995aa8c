-- Which runs were right, and what a joint venture allows to be trained on them. The rules of the
-- first migration hold here too.

-- Where a request came from: consent is given for each.
alter table run add column source text not null default 'api' check (source in ('api', 'page', 'cli'));

-- What was decided, in order; the last decision for a source holds. Nothing is rewritten, so that it
-- can be shown under which consent a planner was trained.
create table training_consent (
    tenant_id uuid not null references tenant,
    source text not null check (source in ('api', 'page', 'cli')),
    seq integer not null,
    level text not null check (level in ('none', 'own', 'pooled')),
    decided_by text not null,
    decided_at timestamptz not null default now(),
    primary key (tenant_id, source, seq)
);

-- What a person says of a run that has ended. `calls` are the right ones where they were corrected.
create table run_verdict (
    tenant_id uuid not null,
    run_id uuid not null,
    verdict text not null check (verdict in ('accepted', 'corrected', 'withdrawn')),
    decision text not null default '',
    calls jsonb not null default '[]',
    decided_by text not null,
    decided_at timestamptz not null default now(),
    primary key (tenant_id, run_id),
    foreign key (tenant_id, run_id) references run
);

do $$
declare
    name text;
begin
    foreach name in array array['training_consent', 'run_verdict']
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

grant select, insert on training_consent to tessera_rt;
grant select, insert, update on run_verdict to tessera_rt;
