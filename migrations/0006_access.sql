-- Who may do what: members and their roles, invitations, sessions with their limits, and keys that belong
-- to members, are rotated and say when they were last used. The rules of the first migration hold here too.
-- `sign_in_throttle` is a routing table: it is read before anybody is known, and holds hashes of what was
-- typed, counts and times.

alter table credential drop constraint credential_kind_check;
alter table credential add constraint credential_kind_check
    check (kind in ('key', 'link', 'session', 'invite'));

-- A person signs in by a password, a service account acts by keys alone. A member is never deleted,
-- because journals and approvals name who acted.
create table member (
    tenant_id uuid not null references tenant,
    member_id uuid not null,
    kind text not null check (kind in ('person', 'service')),
    login text not null check (login ~ '^[a-z0-9][a-z0-9._@+-]{1,99}$'),
    name text not null default '' check (length(name) <= 200),
    organisation text not null default '' check (length(organisation) <= 200),
    role text not null check (role in ('owner', 'operator', 'approver', 'analyst', 'viewer')),
    password text,
    password_at timestamptz,
    disabled_at timestamptz,
    created_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, member_id),
    unique (tenant_id, login),
    check (kind = 'person' or password is null)
);

create table member_invite (
    tenant_id uuid not null,
    hash bytea not null check (length(hash) = 32),
    member_id uuid not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    created_by text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, hash),
    foreign key (tenant_id, member_id) references member
);
create index member_invite_of_member on member_invite (tenant_id, member_id);

-- The owner sees no rows while its own policy is forced. Sessions of before have no identifier by which
-- a person could end them, so they end here; the token of their forms is derived from now on.
alter table session no force row level security;
delete from session;
delete from credential where kind = 'session';
alter table session
    drop column csrf,
    add column session_id uuid not null,
    add column member_id uuid,
    add column key_id uuid,
    add column address text not null default '',
    add column agent text not null default '',
    add column seen_at timestamptz not null default now(),
    add constraint session_id_once unique (tenant_id, session_id),
    add constraint session_of_member foreign key (tenant_id, member_id) references member,
    add constraint session_of_key foreign key (tenant_id, key_id) references api_key;
alter table session force row level security;

alter table api_key
    add column member_id uuid,
    add column successor uuid,
    add column created_by text not null default '',
    add column last_used_at timestamptz,
    add constraint api_key_of_member foreign key (tenant_id, member_id) references member,
    add constraint api_key_successor foreign key (tenant_id, successor) references api_key;

-- A key that was permitted everything stays so.
alter table api_key no force row level security;
update api_key set scopes = scopes || array['control:write', 'access:read', 'access:write']
where scopes @> array['runs:read', 'runs:write', 'approvals:write', 'data:write', 'models:write']
  and not scopes @> array['access:write'];
alter table api_key force row level security;

create table sign_in_throttle (
    hash bytea primary key check (length(hash) = 32),
    failures integer not null,
    last_at timestamptz not null,
    until timestamptz not null
);
create index sign_in_throttle_age on sign_in_throttle (last_at);

do $$
declare
    name text;
begin
    foreach name in array array['member', 'member_invite']
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

grant select, insert, update on member, member_invite to tessera_rt;
grant select, insert, update, delete on sign_in_throttle to tessera_rt;
