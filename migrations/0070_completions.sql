-- What was asked of planners over the OpenAI-compatible calls: one row a call, for metering, with the
-- whole of a response that its caller wanted to be kept. The rules of the first migration hold here too.

create table completion (
    tenant_id uuid not null references tenant,
    response_id uuid not null,
    kind text not null check (kind in ('chat', 'response')),
    model text not null,
    asked_by text not null,
    prompt_tokens integer not null check (prompt_tokens >= 0),
    cached_tokens integer not null check (cached_tokens >= 0),
    decoded_tokens integer not null check (decoded_tokens >= 0),
    ms integer not null check (ms >= 0),
    -- What `GET /v1/responses/{id}` shows and a later response continues; null where nothing was to be kept.
    kept jsonb,
    created_at timestamptz not null default now(),
    primary key (tenant_id, response_id)
);
create index completion_oldest on completion (tenant_id, created_at) where kept is not null;

alter table completion enable row level security;
alter table completion force row level security;
create policy own_rows on completion for all to tessera_rt
    using (tenant_id = (select nullif(current_setting('tessera.tenant_id', true), '')::uuid))
    with check (tenant_id = (select nullif(current_setting('tessera.tenant_id', true), '')::uuid));

grant select, insert, update on completion to tessera_rt;
