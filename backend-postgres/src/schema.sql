-- fairlock's locks in PostgreSQL: version 1 of the schema {schema}.
--
-- Whoever takes locks needs:
--   GRANT USAGE ON SCHEMA {schema} TO somebody;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO somebody;
--   GRANT SELECT, UPDATE, USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO somebody;
-- (the functions may be called by everybody, and do what their caller may do).
--
-- Advisory locks: the id of a session, for requests that make something for it; a hash of each lock, for its order; and
-- token # {salt}, which the session that has this entry holds as long as those behind it have to wait for it.

-- Which server this is, as far as it gave out tokens. The era is in their high bits.
CREATE TABLE {schema}.place (
    version integer NOT NULL,
    system bigint NOT NULL,
    timeline integer NOT NULL,
    era integer NOT NULL
) WITH (autovacuum_vacuum_threshold = 10);

-- The order of all queues. No transaction takes back what was given out.
CREATE SEQUENCE {schema}.token;

-- Milliseconds for which somebody alive has watched the sessions. It never runs faster than anybody's clock, whatever the
-- time of day: it goes on only for who saw it stand still, for as long.
CREATE SEQUENCE {schema}.clock MINVALUE 0 START 0;

CREATE TABLE {schema}.session (
    id bigint PRIMARY KEY,
    -- When it was renewed, by that clock.
    beat bigint NOT NULL,
    -- For how long it lives then.
    life bigint NOT NULL,
    -- Requests of its connections before this one are refused.
    epoch integer NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_cost_delay = 0);

-- The queues. To remove somebody by hand: DELETE FROM {schema}.entry WHERE id = '…'.
CREATE TABLE {schema}.entry (
    token bigint NOT NULL,
    session bigint NOT NULL,
    weight bigint NOT NULL,
    -- The permits that there are.
    bound bigint NOT NULL,
    since timestamptz NOT NULL,
    -- The process of the server that holds the advisory lock of this entry; 0 if none does.
    bell integer NOT NULL,
    -- 'l' or 's' (lock or semaphore), and the name.
    lock bytea NOT NULL,
    id text NOT NULL,
    label bytea NOT NULL,
    PRIMARY KEY (lock, token)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

-- What is recorded about locks, by the holder with this token. Stays until somebody removes it.
CREATE TABLE {schema}.record (
    -- As in an entry.
    lock bytea PRIMARY KEY,
    token bigint NOT NULL,
    text bytea NOT NULL
);

-- With a session go its entries, whoever removes it. What it is still asking for is done before, or not at all.
CREATE FUNCTION {schema}.ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(OLD.id);
    DELETE FROM {schema}.entry WHERE session = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER ended AFTER DELETE ON {schema}.session FOR EACH ROW EXECUTE FUNCTION {schema}.ended();

-- A connection for requests comes. 1; 0 if there is no such session (any more); -1 on a server that follows another.
-- The first one makes the session.
CREATE FUNCTION {schema}.arrive(session_ bigint, epoch_ integer, life_ bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    system_ bigint;
    timeline_ integer;
    here {schema}.place;
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN -1;
    END IF;
    -- A server that is another than before, or was a standby, may not know which tokens were given out last.
    system_ := (pg_control_system()).system_identifier;
    timeline_ := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer;
    SELECT * INTO here FROM {schema}.place;
    IF (here.system, here.timeline) IS DISTINCT FROM (system_, timeline_) THEN
        SELECT * INTO here FROM {schema}.place FOR UPDATE;
        IF (here.system, here.timeline) IS DISTINCT FROM (system_, timeline_) THEN
            here.era := greatest(here.era + 1, timeline_);
            UPDATE {schema}.place SET system = system_, timeline = timeline_, era = here.era;
            PERFORM setval('{schema}.token', greatest(here.era::bigint << 44, (SELECT last_value + 1 FROM {schema}.token)));
        END IF;
    END IF;
    IF epoch_ = 1 THEN
        INSERT INTO {schema}.session VALUES (session_, (SELECT last_value FROM {schema}.clock), life_, 1);
        RETURN 1;
    END IF;
    PERFORM pg_advisory_xact_lock(session_);
    UPDATE {schema}.session SET epoch = epoch_ WHERE id = session_ AND epoch < epoch_;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE {schema}.entry
    SET bell = CASE WHEN pg_try_advisory_lock(token # {salt}) THEN pg_backend_pid() ELSE 0 END
    WHERE session = session_ AND bell <> 0;
    RETURN 1;
END $$;

-- Somebody saw the clock at `seen`, and has waited for so long since. What it says now. Whoever advances it also removes the sessions whose
-- time is over; `step` is what it may have run ahead of a renewal.
CREATE FUNCTION {schema}.tick(seen bigint, elapsed bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT bigint := 1000;
    present bigint;
BEGIN
    IF elapsed > 0 AND pg_try_advisory_xact_lock({salt}) THEN
        SELECT last_value INTO present FROM {schema}.clock;
        IF present = seen THEN
            present := setval('{schema}.clock', seen + least(elapsed, step));
            WITH due AS (
                SELECT id FROM {schema}.session WHERE present - beat >= life + step FOR UPDATE SKIP LOCKED
            ), dead AS (
                DELETE FROM {schema}.session WHERE id IN (SELECT id FROM due) RETURNING id
            )
            -- Whoever waits for such a one may be waiting for its connection.
            SELECT count(pg_terminate_backend(pid)) INTO elapsed FROM dead JOIN pg_stat_activity
            ON application_name = 'fairlock ' || dead.id AND usename = current_user AND pid <> pg_backend_pid();
        END IF;
        RETURN present;
    END IF;
    SELECT last_value INTO present FROM {schema}.clock;
    RETURN present;
END $$;

-- Renews a session if that is due. 1, or 0 if it is over; the clock; and those of these entries that are not there.
CREATE FUNCTION {schema}.renew(session_ bigint, due boolean, seen bigint, elapsed bigint, locks bytea[], tokens bigint[])
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    lives bigint := 1;
BEGIN
    IF due THEN
        UPDATE {schema}.session SET beat = (SELECT last_value FROM {schema}.clock) WHERE id = session_;
        lives := FOUND::integer;
    END IF;
    RETURN ARRAY[lives, {schema}.tick(seen, elapsed)] || ARRAY(
        SELECT own.token FROM unnest(locks, tokens) AS own (lock, token)
        WHERE NOT EXISTS (SELECT FROM {schema}.entry WHERE entry.lock = own.lock AND entry.token = own.token)
    );
END $$;

-- Ends a session.
CREATE FUNCTION {schema}.close(session_ bigint) RETURNS void LANGUAGE sql AS $$
    DELETE FROM {schema}.session WHERE id = session_;
$$;

-- What an entry sees: its token; and if there is somebody to wait for, his token, weight and session, and what all others ahead weigh, as far as
-- that matters. Nobody with a token below `low` is in the queue.
CREATE FUNCTION {schema}.ahead(lock_ bytea, own bigint, weight_ bigint, bound_ bigint, low bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    t bigint;
    w bigint;
    s bigint;
    total bigint;
BEGIN
    IF get_byte(lock_, 0) = ascii('l') THEN
        SELECT token, weight, session INTO t, w, s FROM {schema}.entry
        WHERE lock = lock_ AND token < own AND token >= low AND weight > bound_ - weight_
        ORDER BY token DESC LIMIT 1;
        IF t IS NULL THEN
            RETURN ARRAY[own];
        END IF;
        RETURN ARRAY[own, t, w, s, 0];
    END IF;
    SELECT token, weight, session INTO t, w, s FROM {schema}.entry
    WHERE lock = lock_ AND token < own ORDER BY token DESC LIMIT 1;
    IF t IS NULL THEN
        RETURN ARRAY[own];
    END IF;
    SELECT sum(weight) INTO total FROM (
        SELECT weight FROM {schema}.entry WHERE lock = lock_ AND token < t ORDER BY token DESC LIMIT bound_
    ) AS others;
    RETURN ARRAY[own, t, w, s, coalesce(total, 0)];
END $$;

-- Appends an entry to a queue, or finds the one that an earlier request (`again`) appended. What it sees; or {{-1}} if the session or the
-- connection is over, {{-2}} if the connection is not always the same process of the server, {{-3, n}} if others think that there are n permits.
-- The lock comes first, and by itself: what follows sees all that was done under it.
CREATE FUNCTION {schema}.enqueue(
    session_ bigint, epoch_ integer, backend integer, key bigint, lock_ bytea, id_ text, weight_ bigint, bound_ bigint, label_ bytea, low bigint,
    rings boolean, again boolean
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    own bigint;
    seen bigint[];
BEGIN
    IF pg_backend_pid() <> backend THEN
        RETURN ARRAY[-2];
    END IF;
    IF pg_advisory_xact_lock_shared(session_) IS NULL OR pg_advisory_xact_lock(key) IS NULL THEN
        RETURN NULL;
    END IF;
    IF again THEN
        -- A write: its answer waits, as the first one's did, until standbys have it.
        UPDATE {schema}.entry
        SET bell = CASE WHEN bell = backend OR rings AND pg_try_advisory_lock(token # {salt}) THEN backend ELSE 0 END
        WHERE lock = lock_ AND id = id_ AND session = session_ RETURNING token INTO own;
    END IF;
    IF own IS NULL THEN
        IF get_byte(lock_, 0) <> ascii('l') THEN
            SELECT bound INTO own FROM {schema}.entry WHERE lock = lock_ ORDER BY token DESC LIMIT 1;
            IF own <> bound_ THEN
                RETURN ARRAY[-3, own];
            END IF;
        END IF;
        INSERT INTO {schema}.entry
        SELECT nextval('{schema}.token'), session_, weight_, bound_, clock_timestamp(), CASE WHEN rings THEN backend ELSE 0 END, lock_, id_, label_
        FROM {schema}.session WHERE id = session_ AND epoch = epoch_
        RETURNING token INTO own;
        IF own IS NULL THEN
            RETURN ARRAY[-1];
        END IF;
        IF rings AND pg_advisory_lock(own # {salt}) IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN {schema}.ahead(lock_, own, weight_, bound_, low);
END $$;

-- What an entry sees now; {{}} if it is not there (any more).
CREATE FUNCTION {schema}.look(session_ bigint, lock_ bytea, own bigint, weight_ bigint, bound_ bigint, low bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.entry WHERE lock = lock_ AND token = own AND session = session_) THEN
        RETURN ARRAY[]::bigint[];
    END IF;
    RETURN {schema}.ahead(lock_, own, weight_, bound_, low);
END $$;

-- Waits as long as somebody ahead holds his advisory lock, then looks. NULL if that took too long.
CREATE FUNCTION {schema}.wait(session_ bigint, lock_ bytea, own bigint, weight_ bigint, bound_ bigint, low bigint, next bigint)
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    seen bigint[];
BEGIN
    LOOP
        IF pg_advisory_xact_lock_shared(next # {salt}) IS NULL THEN
            RETURN NULL;
        END IF;
        seen := {schema}.look(session_, lock_, own, weight_, bound_, low);
        EXIT WHEN seen[2] IS NULL OR seen[2] = next;
        next := seen[2];
    END LOOP;
    RETURN seen;
EXCEPTION WHEN lock_not_available OR query_canceled THEN
    RETURN NULL;
END $$;

-- Nobody needs to wait any more for this entry, which holds together with others.
CREATE FUNCTION {schema}.let_go(lock_ bytea, own bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {schema}.entry SET bell = 0 WHERE lock = lock_ AND token = own AND bell = pg_backend_pid();
    IF FOUND THEN
        PERFORM pg_advisory_xact_lock(own # {salt}), pg_advisory_unlock(own # {salt});
    END IF;
END $$;

-- Removes an entry: by its token, or if that is 0 by its id. Whether it was there.
CREATE FUNCTION {schema}.remove(session_ bigint, lock_ bytea, own bigint, id_ text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
    rung integer;
    weight_ bigint;
    bound_ bigint;
BEGIN
    IF own > 0 THEN
        DELETE FROM {schema}.entry WHERE lock = lock_ AND token = own AND session = session_
        RETURNING token, bell, weight, bound INTO gone, rung, weight_, bound_;
    ELSE
        DELETE FROM {schema}.entry WHERE lock = lock_ AND id = id_ AND session = session_
        RETURNING token, bell, weight, bound INTO gone, rung, weight_, bound_;
    END IF;
    IF gone IS NULL THEN
        -- Somebody else has removed it, who could not let go of its advisory lock.
        PERFORM pg_advisory_unlock(own # {salt}) FROM pg_locks
        WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objsubid = 1
        AND (classid::bigint << 32 | objid::bigint) = own # {salt};
        RETURN false;
    END IF;
    IF rung = pg_backend_pid() THEN
        -- Once more for this transaction: it is free when everybody can see that the entry is gone, and no sooner.
        IF pg_advisory_xact_lock(gone # {salt}) IS NULL OR NOT pg_advisory_unlock(gone # {salt}) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF get_byte(lock_, 0) <> ascii('l') THEN
        PERFORM pg_notify('fairlock_' || session, token::text) FROM (
            SELECT session, token, sum(weight) OVER (ORDER BY token) AS total
            FROM {schema}.entry WHERE lock = lock_ ORDER BY token LIMIT bound_ + 1
        ) AS queue
        WHERE token > gone AND total <= bound_ AND total + weight_ > bound_;
    END IF;
    RETURN true;
END $$;

INSERT INTO {schema}.place VALUES (
    1, (pg_control_system()).system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer, 0
);
