-- Keys that sign, sealed and followed by others; the keys of parties and what they counter-signed; and
-- observations that come in by webhook. The rules of the first migration hold here too.

-- A secret lies sealed under the vault's master key. A plain one is of before, and is sealed by the next
-- start of the server, which alone knows the master key.
alter table signing_key
    alter column secret drop not null,
    add column key_id uuid not null default gen_random_uuid(),
    add column sealed bytea,
    -- How the key before named this one; null for the first.
    add column handover jsonb,
    add constraint signing_key_is_kept_once check ((secret is null) <> (sealed is null));
grant update (secret, sealed) on signing_key to tessera_rt;

-- The public keys of a contract's parties, newest last; never rewritten.
create table party_key (
    tenant_id uuid not null references tenant,
    party text not null check (length(party) between 1 and 200),
    version integer not null,
    public_key text not null,
    registration jsonb not null,
    registered_by text not null,
    registered_at timestamptz not null default now(),
    primary key (tenant_id, party, version)
);

create table countersignature (
    tenant_id uuid not null,
    statement integer not null,
    party text not null,
    body jsonb not null,
    entered_by text not null,
    entered_at timestamptz not null default now(),
    primary key (tenant_id, statement, party),
    foreign key (tenant_id, statement) references statement (tenant_id, number)
);

-- `observed`: an observation was made of it; `refused`: one could be read and cannot be taken.
alter table webhook_inbound
    drop constraint webhook_inbound_outcome_check,
    add constraint webhook_inbound_outcome_check
        check (outcome in ('started', 'skipped', 'unmapped', 'observed', 'refused'));

do $$
declare
    name text;
begin
    foreach name in array array['party_key', 'countersignature']
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

grant select, insert on party_key, countersignature to tessera_rt;
