-- What partners can check: approvals that are bound to what exactly runs and to who may decide, and a
-- chain of hashes over everything that happened. The rules of the first migration hold here too.

-- Who asked for a run, as the platform knows it: the same actor must not approve its acts.
alter table run add column asked_by text not null default '';

-- `binding_sha256` covers the joint venture, the run, the call, the tool and its version, and the
-- arguments: when one changes, the call needs a new approval.
alter table approval
    add column tool_version text not null default '',
    add column binding_sha256 text not null default '',
    add column rule text not null default '',
    add column roles text[] not null default '{}',
    add column self_approval boolean not null default false,
    add column needed integer not null default 1 check (needed between 1 and 2),
    add column origins jsonb not null default '[]',
    add column reasons jsonb not null default '[]',
    add column erased_at timestamptz,
    drop constraint approval_tenant_id_run_id_call_index_key,
    add constraint approval_once unique (tenant_id, run_id, call_index, binding_sha256);
create index approval_waiting on approval (tenant_id, expires_at) where status = 'pending';

-- What each person decided. `authority` is whose right was used: the voter's own or a delegator's.
create table approval_vote (
    tenant_id uuid not null,
    approval_id uuid not null,
    voter text not null,
    subject text not null,
    authority text not null,
    role text not null,
    approved boolean not null,
    reason text not null,
    via text not null check (via in ('api', 'page', 'link')),
    binding_sha256 text not null,
    decided_at timestamptz not null default now(),
    primary key (tenant_id, approval_id, voter),
    unique (tenant_id, approval_id, authority),
    foreign key (tenant_id, approval_id) references approval
);

-- Above which value of an argument a joint venture wants certain roles or two people. An empty tool is
-- any tool; no roles are those of the pack. Rules only add up: the strictest holds.
create table approval_rule (
    tenant_id uuid not null references tenant,
    rule_id uuid not null,
    tool text not null default '' check (length(tool) <= 128),
    argument text not null default '' check (length(argument) <= 128),
    above numeric not null default 0,
    roles text[] not null default '{}',
    needed integer not null check (needed between 1 and 2),
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id, rule_id)
);

create table approval_delegation (
    tenant_id uuid not null references tenant,
    delegation_id uuid not null,
    giver text not null,
    giver_subject text not null,
    giver_role text not null,
    taker text not null,
    reason text not null,
    ends_at timestamptz not null,
    ended_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, delegation_id)
);
create index approval_delegation_taker on approval_delegation (tenant_id, taker);

-- The key under which links of a joint venture are signed, and which links were used.
create table link_key (
    tenant_id uuid not null references tenant,
    key bytea not null check (length(key) = 32),
    created_at timestamptz not null default now(),
    primary key (tenant_id)
);

create table approval_link_use (
    tenant_id uuid not null,
    nonce uuid not null,
    approval_id uuid not null,
    used_at timestamptz not null default now(),
    primary key (tenant_id, nonce),
    foreign key (tenant_id, approval_id) references approval
);

-- Each event carries the hash of its payload and of all before it in its run; what stood before has
-- none. A payload can be erased, its hash stays.
alter table run_event
    add column payload_sha256 text not null default '',
    add column sha256 text not null default '',
    add column erased_at timestamptz;

-- The chain of a joint venture: ends of runs with the hash of their journal, and what else must be
-- shown later. Rows are never changed and never deleted; `detail` names people who acted, and nothing
-- of what a request or a dataset says.
create table audit_entry (
    tenant_id uuid not null references tenant,
    seq bigint not null,
    kind text not null check (length(kind) between 1 and 64),
    run_id uuid,
    actor text not null,
    subject text not null,
    detail jsonb not null,
    prev_sha256 text not null,
    sha256 text not null,
    created_at timestamptz not null,
    primary key (tenant_id, seq)
);
create index audit_entry_of_run on audit_entry (tenant_id, run_id) where run_id is not null;

-- How long a joint venture keeps what requests and results say; the chain stays.
create table retention (
    tenant_id uuid not null references tenant,
    days integer not null check (days between 1 and 36500),
    set_by text not null,
    set_at timestamptz not null default now(),
    primary key (tenant_id)
);

do $$
declare
    name text;
begin
    foreach name in array array['approval_vote', 'approval_rule', 'approval_delegation', 'link_key',
                                'approval_link_use', 'audit_entry', 'retention']
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

grant select, insert on approval_vote, link_key, approval_link_use, audit_entry to tessera_rt;
grant select, insert, delete on approval_rule to tessera_rt;
grant select, insert, update on approval_delegation, retention to tessera_rt;
grant delete on retention to tessera_rt;
-- Erasing a payload is the only change of a journal that the role can make; the hashes show it.
grant update (payload, erased_at) on run_event to tessera_rt;
grant update (live, shadow) on shadow_plan to tessera_rt;
