-- A bearer check for nginx: libcrypto through the FFI, cjson for the claims, an LRU of verified tokens. One algorithm.
local ffi = require "ffi"
local cjson = require "cjson.safe"
ffi.cdef [[
typedef struct bio_st BIO; typedef struct evp_pkey_st EVP_PKEY; typedef struct evp_md_st EVP_MD;
typedef struct evp_md_ctx_st EVP_MD_CTX; typedef struct evp_pkey_ctx_st EVP_PKEY_CTX;
BIO *BIO_new_mem_buf(const void *data, int length);
EVP_PKEY *PEM_read_bio_PUBKEY(BIO *bio, void *key, void *callback, void *argument);
const EVP_MD *EVP_sha256(void);
EVP_MD_CTX *EVP_MD_CTX_new(void);
int EVP_MD_CTX_reset(EVP_MD_CTX *context);
int EVP_DigestVerifyInit(EVP_MD_CTX *context, EVP_PKEY_CTX **key_context, const EVP_MD *type, void *engine, EVP_PKEY *key);
int EVP_DigestVerify(EVP_MD_CTX *context, const unsigned char *signature, size_t signature_length,
                     const unsigned char *message, size_t length);
unsigned char *HMAC(const EVP_MD *type, const void *key, int key_length, const unsigned char *message, size_t length,
                    unsigned char *out, unsigned int *out_length);
void ERR_clear_error(void);
]]
local crypto = ffi.load("crypto.so.3")
local M, settings, verifies, cache = {}, nil, nil, nil

local padding = { [0] = "", [2] = "==", [3] = "=" }
local function decode(text)
  local pad = padding[#text % 4]
  return pad and ngx.decode_base64(text:gsub("-", "+"):gsub("_", "/") .. pad)
end

local function rsa(pem)
  local key = crypto.PEM_read_bio_PUBKEY(crypto.BIO_new_mem_buf(pem, #pem), nil, nil, nil)
  assert(key ~= nil, "a public key")
  local context = crypto.EVP_MD_CTX_new()
  return function(message, signature)
    crypto.EVP_MD_CTX_reset(context)
    local good = crypto.EVP_DigestVerifyInit(context, nil, crypto.EVP_sha256(), nil, key) == 1
      and crypto.EVP_DigestVerify(context, signature, #signature, message, #message) == 1
    if not good then crypto.ERR_clear_error() end
    return good
  end
end

local function hmac(secret)
  local out = ffi.new("unsigned char[32]")
  return function(message, signature)
    crypto.HMAC(crypto.EVP_sha256(), secret, #secret, message, #message, out, nil)
    return ffi.string(out, 32) == signature
  end
end

function M.setup(given)
  settings = given
  local file = assert(io.open(given.key_file, "rb"))
  local key = file:read("*a")
  file:close()
  verifies = given.alg == "HS256" and hmac(key) or rsa(key)
  cache = assert(require("resty.lrucache").new(given.cache))
end

local function has_audience(audience)
  if type(audience) ~= "table" then return audience == settings.audience end
  for _, one in ipairs(audience) do
    if one == settings.audience then return true end
  end
  return false
end

local function verify(token)
  local first, second, third = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
  if not first then return nil end
  local header = cjson.decode(decode(first) or "")
  if type(header) ~= "table" or header.alg ~= settings.alg then return nil end
  local signature = decode(third)
  if not signature or not verifies(first .. "." .. second, signature) then return nil end
  local claims = cjson.decode(decode(second) or "")
  if type(claims) ~= "table" or claims.iss ~= settings.issuer or type(claims.exp) ~= "number" then return nil end
  if not has_audience(claims.aud) then return nil end
  local scopes = {}
  if type(claims.scope) == "string" then
    for word in claims.scope:gmatch("%S+") do scopes[word] = true end
  end
  return { exp = claims.exp, scopes = scopes }
end

function M.require_scope(scope)
  local header = ngx.var.http_authorization
  local token = header and header:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)$")
  if not token then return ngx.exit(401) end
  local verified = cache:get(token)
  if not verified then
    verified = verify(token)
    if not verified then return ngx.exit(401) end
    cache:set(token, verified)
  end
  if verified.exp <= ngx.time() then return ngx.exit(401) end
  if not verified.scopes[scope] then return ngx.exit(403) end
end

return M
