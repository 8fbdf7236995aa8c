-- Below which confidence a joint venture's plans are not acted on without a person: null takes the
-- threshold of the planner's calibration, 0 switches it off.
alter table tenant
    add column abstain_below double precision
        check (abstain_below >= 0 and abstain_below <= 1);

-- Why a person is asked: the call changes something, or the planner is not sure what was meant. The
-- second kind changes nothing, so whoever may ask may also confirm it.
alter table approval
    add column because text not null default 'act' check (because in ('act', 'unsure'));
grant update (abstain_below) on tenant to tessera_rt;
