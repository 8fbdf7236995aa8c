-- Webhooks and the hosts that may be reached have a scope of their own. Whoever could change them by
-- `data:write` still can. A budget that is used up is told once in each of its spans.

-- The owner sees no rows either while row-level security is forced.
alter table api_key no force row level security;
update api_key set scopes = array_append(scopes, 'webhooks:write')
where scopes @> array['data:write'] and not scopes @> array['webhooks:write'];
alter table api_key force row level security;

alter table budget_spend add column told_at timestamptz;
