-- Included by the scripts that end requests. An input that is not to be kept as it is ends with its request: from then on,
-- the request's field `stored_input` stands in the place of input and options.

-- Put it there, in the flat fields of an entry; how many bytes there were is kept. After a `+`, the options stay.
local function keep(fields, stored_at)
  local stored, bytes = fields[stored_at + 1], 0
  local with_options = string.sub(stored, 1, 1) == '+'
  if with_options then stored = string.sub(stored, 2) end
  for i = 1, #fields, 2 do
    if fields[i] == 'input' then bytes, fields[i + 1] = bytes + #fields[i + 1], stored
    elseif fields[i] == 'options' then
      bytes, fields[i + 1] = bytes + #fields[i + 1], with_options and fields[i + 1] or '{}'
    end
  end
  fields[stored_at], fields[stored_at + 1] = 'input_bytes', string.format('%.0f', bytes)
end
