-- The properties org.beadm-rs:* of objects, set or inherited:
-- {object = {key = the value in hexadecimal}}. `zfs list` prints a value as it
-- is, and one with tabs or newlines looks like other columns or other records.
local prefix = "org.beadm-rs:"
local found = {}

for _, object in ipairs((...)["argv"]) do
    local marks = {}
    if zfs.exists(object) then
        for property, value in zfs.list.properties(object) do
            if string.sub(property, 1, #prefix) == prefix then
                marks[string.sub(property, #prefix + 1)] = hex(value)
            end
        end
    end
    found[object] = marks
end
return found
