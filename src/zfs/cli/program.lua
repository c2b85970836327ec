-- Runs a list of operations in one transaction group (zfs-program(8)).
-- argv: for each operation its name, how many arguments follow, and those.
-- First everything that can be looked at is looked at, and nothing is changed
-- if anything is amiss; then the operations run in order. A channel program is
-- isolated and crash-atomic but what ran before an error stays, hence the look.
local argv = (...)["argv"]

local function guid(name)
    return string.format("%u", zfs.get_prop(name, "guid"))
end

local ops = {}
local at = 1
while argv[at] ~= nil do
    local op = {name = argv[at]}
    local count = tonumber(argv[at + 1])
    for i = 1, count do
        op[i] = argv[at + 1 + i]
    end
    ops[#ops + 1] = op
    at = at + 2 + count
end

-- What is destroyed here, and whether snapshots move before that.
local doomed, moving = {}, false
for _, op in ipairs(ops) do
    if op.name == "destroy" then
        doomed[op[1]] = true
    elseif op.name == "promote" then
        moving = true
    end
end

-- The newest snapshot that stays.
local function newest(object)
    local found, group
    for snapshot in zfs.list.snapshots(object) do
        if not doomed[snapshot] then
            local created = zfs.get_prop(snapshot, "createtxg")
            if found == nil or created > group then
                found, group = snapshot, created
            end
        end
    end
    return found
end

-- 0, or the errno, and what is amiss in words. The object is there: get_prop on what
-- is not ends the program.
local function guarded(object, kind, name, value)
    local found
    if kind == "newest" then
        if guid(object) ~= name then
            return 2, "it is another object than the one that was looked at before"
        end
        found = newest(object)
        if found == nil or guid(found) ~= value then
            return 17, (found or "no snapshot") .. " is its newest snapshot"
        end
        return 0
    end
    if kind == "guid" then
        found = guid(object)
    else
        found = zfs.get_prop(object, name)
        if kind == "mark" then
            value = guid(object) .. " " .. value
        end
    end
    if found ~= value then
        return 2, "it is another object than the one that was looked at before"
    end
    return 0
end

-- Mounted, sent, or otherwise held open. A head with snapshots always fails
-- check.destroy with EBUSY; check.rollback says EBUSY for long holds only
-- (dsl_dataset_rollback_check).
local function in_use(object)
    local err = zfs.check.rollback(object)
    if err == 3 then
        -- ESRCH: no snapshot, so check.destroy tells.
        err = zfs.check.destroy(object)
    end
    if err == 16 then
        return 16
    end
    return 0
end

-- What came to be since this was planned, and would stop it halfway. Where
-- snapshots move first, what belongs to whom is not known yet.
local function alone(object)
    if moving then
        return 0
    end
    if string.find(object, "@") then
        for clone in zfs.list.clones(object) do
            if not doomed[clone] then
                return 17, clone .. " is a clone of it"
            end
        end
        return 0
    end
    for child in zfs.list.children(object) do
        if not doomed[child] then
            return 17, child .. " is below it"
        end
    end
    for snapshot in zfs.list.snapshots(object) do
        if not doomed[snapshot] then
            return 17, snapshot .. " is there"
        end
    end
    return 0
end

local check = {}

function check.mark(op)
    return 0
end

function check.unmark(op)
    return 0
end

function check.snapshot(op)
    return zfs.check.snapshot(op[1])
end

function check.promote(op)
    if op[2] == "checked" then
        local err, names = zfs.check.promote(op[1])
        if err ~= 0 then
            local found = ""
            for _, name in ipairs(names or {}) do
                found = found .. " " .. name
            end
            return err, found
        end
    end
    return 0
end

function check.destroy(op)
    if not zfs.exists(op[1]) then
        if op[5] == "missing-ok" then
            -- A promotion before it may bring it: looked at again then.
            op.unseen = true
            return 0
        end
        return 2
    end
    local err, why = guarded(op[1], op[2], op[3], op[4])
    if err ~= 0 then
        return err, why
    end
    if string.find(op[1], "@") then
        -- EBUSY where it is held, before its clones are counted; 0 where it has
        -- none (dsl_destroy_snapshot_check_impl).
        err = zfs.check.destroy(op[1])
        if err == 0 or err == 16 then
            return err
        end
        return alone(op[1])
    end
    err = in_use(op[1])
    if err ~= 0 then
        return err
    end
    return alone(op[1])
end

function check.rollback(op)
    if not zfs.exists(op[1]) then
        return 2
    end
    local err, why = guarded(op[1], op[2], op[3], op[4])
    if err == 0 then
        err, why = in_use(op[1])
    end
    return err, why
end

local run = {}

function run.mark(op)
    if not zfs.exists(op[1]) then
        return 2
    end
    return zfs.sync.set_prop(op[1], op[2], guid(op[1]) .. " " .. op[3])
end

function run.unmark(op)
    if not zfs.exists(op[1]) then
        return 0
    end
    return zfs.sync.inherit(op[1], op[2])
end

function run.snapshot(op)
    return zfs.sync.snapshot(op[1])
end

function run.promote(op)
    local err, names = zfs.sync.promote(op[1])
    local found = ""
    for _, name in ipairs(names or {}) do
        found = found .. " " .. name
    end
    return err, found
end

function run.destroy(op)
    -- To zfs.sync.destroy a snapshot that is gone is destroyed already
    -- (dsl_destroy_snapshot_check). What was seen goes only with a promotion.
    if (moving or op.unseen) and not zfs.exists(op[1]) then
        return op[5] == "missing-ok" and 0 or 2
    end
    if op.unseen then
        local err, why = guarded(op[1], op[2], op[3], op[4])
        if err ~= 0 then
            return err, why
        end
    end
    return zfs.sync.destroy(op[1])
end

function run.rollback(op)
    return zfs.sync.rollback(op[1])
end

for index, op in ipairs(ops) do
    local err, why = check[op.name](op)
    if err ~= 0 then
        return {failed = index, errno = err, why = why or "", done = 0}
    end
end
for index, op in ipairs(ops) do
    local err, why = run[op.name](op)
    if err ~= 0 then
        return {failed = index, errno = err, why = why or "", done = index - 1}
    end
end
return {failed = 0, errno = 0, why = "", done = #ops}
