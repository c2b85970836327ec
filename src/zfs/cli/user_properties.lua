-- The user properties set or received on a file system and on those below it, and
-- those native ones that are named: argv is the file system and these names.
-- {dataset = {property = "l" or "r", then the value in hexadecimal}}. JSON drops
-- characters beyond the Basic Multilingual Plane; hexadecimal has none.
local argv = (...)["argv"]
local found = {}

local function walk(dataset)
    if zfs.get_prop(dataset, "type") ~= "filesystem" then
        return
    end
    local own = {}
    local function note(property, value, source)
        if source == dataset then
            own[property] = "l" .. hex(value)
        elseif source == "$recvd" then
            own[property] = "r" .. hex(value)
        end
    end
    for property, value, source in zfs.list.properties(dataset) do
        note(property, value, source)
    end
    for i = 2, #argv do
        note(argv[i], zfs.get_prop(dataset, argv[i]))
    end
    found[dataset] = own
    for child in zfs.list.children(dataset) do
        walk(child)
    end
end

walk(argv[1])
return found
