-- What a hub remembers between runs. Times are milliseconds since 1970 UTC.

-- The last good listing of each service, one row per kind of connection; body is JSON.
create table catalog (
    service         text    not null,
    variant         text    not null,
    fingerprint     text    not null,
    body            text    not null,
    updated_unix_ms integer not null,
    primary key (service, variant)
) strict;

-- Which protocol eras a service spoke when asked; null means not asked. Good for one fingerprint of its command.
create table era (
    service         text    not null primary key,
    fingerprint     text    not null,
    legacy          integer,
    modern          integer,
    checked_unix_ms integer not null
) strict;

-- Runs of hubs on this data folder, and the process trees that each may have left.
create table hub (
    hub_id        text    not null primary key,
    pid           integer not null,
    start_time    integer not null,
    boot_id       text    not null,
    begun_unix_ms integer not null
) strict;

create table leftover (
    hub_id     text    not null,
    service    text    not null,
    pid        integer not null,
    start_time integer not null,
    boot_id    text    not null,
    pgid       integer not null,
    primary key (hub_id, pid)
) strict;
