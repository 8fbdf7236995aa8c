-- Packs that joint ventures install: which versions they have, and what they were asked for. The rules of
-- the first migration hold here too. `tenant.pack` and `run.pack` name a shipped pack (`finance`) or one
-- that was installed, with the digest of its contents (`desk@…`), so that a run keeps its version.

create table pack_release (
    tenant_id uuid not null references tenant,
    digest text not null check (digest ~ '^[0-9a-f]{64}$'),
    pack text not null check (pack ~ '^[a-z0-9-]{1,64}$'),
    version text not null check (length(version) between 1 and 100),
    -- Public key of whoever signed it; null for one that was let in unsigned.
    signer text,
    -- What it asked for when it was consented to.
    permissions jsonb not null,
    installed_by text not null,
    installed_at timestamptz not null default now(),
    -- When it became the live one for the last time.
    live_at timestamptz not null default now(),
    primary key (tenant_id, digest)
);

create table pack_setting (
    tenant_id uuid not null references tenant,
    pack text not null,
    setting text not null check (setting ~ '^[a-z][a-z0-9_]{0,63}$'),
    setting_id uuid not null,
    -- Encrypted; bound to this row.
    sealed bytea not null,
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id, pack, setting),
    unique (tenant_id, setting_id)
);

do $$
declare
    name text;
begin
    foreach name in array array['pack_release', 'pack_setting']
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

grant select, insert, update, delete on pack_release, pack_setting to tessera_rt;
grant update (pack) on tenant to tessera_rt;
