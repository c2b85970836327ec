-- Before programs that return values of properties: JSON would not carry every byte.
local function hex(text)
    return (string.gsub(text, ".", function(c)
        return string.format("%02x", string.byte(c))
    end))
end

