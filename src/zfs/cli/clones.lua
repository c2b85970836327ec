-- The clones of snapshots, every one: {snapshot = {clone = true}}. `zfs list`
-- cuts its column `clones` after 4,095 or 8,191 bytes.
local found = {}
for _, snapshot in ipairs((...)["argv"]) do
    local clones = {}
    for clone in zfs.list.clones(snapshot) do
        clones[clone] = true
    end
    found[snapshot] = clones
end
return found
