#include "processes/tls.h"

#include <cstring>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>

namespace kvhaul {
namespace {

// The name of the key on the wire; which key it is says the preamble.
constexpr std::string_view key_name = "kvhaul";
constexpr unsigned char cipher_suite[2] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256
constexpr const char* cipher_suite_name = "TLS_AES_128_GCM_SHA256";

template <auto free>
struct Free {
  template <class T>
  void operator()(T* value) const {
    free(value);
  }
};
template <class T, auto free>
using Owned = std::unique_ptr<T, Free<free>>;
using Context = Owned<SSL_CTX, SSL_CTX_free>;

Error no_tls(const char* what) {
  char text[256] = "no reason given";
  if (const unsigned long code = ERR_get_error(); code != 0)
    ERR_error_string_n(code, text, sizeof text);
  return Error::missing(std::string("OpenSSL: ") + what + ": " + text);
}

const ExchangeKey* key_of(SSL* ssl) {
  return static_cast<const ExchangeKey*>(SSL_get_app_data(ssl));
}

/// A session that holds nothing but the key; null when there is no memory.
SSL_SESSION* session_of(SSL* ssl) {
  Owned<SSL_SESSION, SSL_SESSION_free> session(SSL_SESSION_new());
  const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl, cipher_suite);
  const ExchangeKey& key = *key_of(ssl);
  if (!session || cipher == nullptr ||
      SSL_SESSION_set1_master_key(session.get(), key.data(), key.size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), cipher) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1)
    return nullptr;
  return session.release();
}

int offer_key(SSL* ssl, const EVP_MD* digest, const unsigned char** name, std::size_t* name_size,
              SSL_SESSION** session) {
  // Asked once more for the digest that the other end has chosen.
  if (digest != nullptr && !EVP_MD_is_a(digest, "SHA2-256")) return 0;
  *session = session_of(ssl);
  *name = reinterpret_cast<const unsigned char*>(key_name.data());
  *name_size = key_name.size();
  return *session != nullptr ? 1 : 0;
}

int find_key(SSL* ssl, const unsigned char* name, std::size_t name_size, SSL_SESSION** session) {
  *session = nullptr;
  if (name_size != key_name.size() || std::memcmp(name, key_name.data(), name_size) != 0) return 1;
  *session = session_of(ssl);
  return *session != nullptr ? 1 : 0;
}

Result<Context> make_context(TlsSide side) {
  Context context(SSL_CTX_new(TLS_method()));
  SSL_CTX* const c = context.get();
  if (c == nullptr || SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(c, cipher_suite_name) != 1 ||
      SSL_CTX_set1_groups_list(c, "X25519:P-256") != 1 || SSL_CTX_set_num_tickets(c, 0) != 1 ||
      SSL_CTX_set_max_early_data(c, 0) != 1)
    return no_tls("TLS 1.3 cannot be set up");
  SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(c, SSL_MODE_AUTO_RETRY);
  // A server without the key would need a certificate that the client believes, and it believes
  // none; a server cannot do without the key, since it has no certificate.
  SSL_CTX_set_verify(c, side == TlsSide::client ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (side == TlsSide::client)
    SSL_CTX_set_psk_use_session_callback(c, offer_key);
  else
    SSL_CTX_set_psk_find_session_callback(c, find_key);
  return context;
}

/// One for each side, made once.
Result<SSL_CTX*> context_of(TlsSide side) {
  static const Result<Context> client = make_context(TlsSide::client);
  static const Result<Context> server = make_context(TlsSide::server);
  const Result<Context>& context = side == TlsSide::client ? client : server;
  if (!context) return context.error();
  return context->get();
}

Result<void> derive(std::string_view secret, std::string_view info, unsigned char* into,
                    std::size_t bytes) {
  constexpr std::string_view salt = "kvhaul-exchange";
  Owned<EVP_KDF, EVP_KDF_free> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  Owned<EVP_KDF_CTX, EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kdf.get()));
  char digest[] = "SHA256";
  const auto octets = [](const char* name, std::string_view text) {
    return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(text.data()), text.size());
  };
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      octets(OSSL_KDF_PARAM_KEY, secret), octets(OSSL_KDF_PARAM_SALT, salt),
      octets(OSSL_KDF_PARAM_INFO, info), OSSL_PARAM_construct_end()};
  if (!kdf || !context || EVP_KDF_derive(context.get(), into, bytes, parameters) != 1)
    return no_tls("no HKDF");
  return {};
}

}  // namespace

Result<ExchangeKey> exchange_key(std::string_view secret, std::string_view line) {
  ExchangeKey key{};
  if (auto ok = derive(secret, "key " + std::string(line), key.data(), key.size()); !ok)
    return ok.error();
  return key;
}

Result<std::string> scenario_tag(std::string_view secret, std::string_view scenario) {
  // HKDF takes only so much; a digest of the text stands for it.
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned sum_bytes = 0;
  if (EVP_Digest(scenario.data(), scenario.size(), sum, &sum_bytes, EVP_sha256(), nullptr) != 1)
    return no_tls("no SHA-256");
  const std::string info = "scenario " + std::string(reinterpret_cast<const char*>(sum), sum_bytes);
  std::array<unsigned char, 16> tag{};
  if (auto ok = derive(secret, info, tag.data(), tag.size()); !ok) return ok.error();
  std::string digits;
  for (const unsigned char byte : tag) {
    constexpr std::string_view hex = "0123456789abcdef";
    digits += hex[byte >> 4];
    digits += hex[byte & 15];
  }
  return digits;
}

struct TlsSession::Parts {
  ExchangeKey key{};
  Owned<SSL, SSL_free> ssl;
  BIO* in = nullptr;  // both belong to ssl
  BIO* out = nullptr;
};

TlsSession::TlsSession() = default;
TlsSession::TlsSession(TlsSession&&) noexcept = default;
TlsSession& TlsSession::operator=(TlsSession&&) noexcept = default;
TlsSession::~TlsSession() = default;

Result<TlsSession> TlsSession::begin(TlsSide side, const ExchangeKey& key) {
  auto context = context_of(side);
  if (!context) return context.error();
  TlsSession session;
  session.parts_ = std::make_unique<Parts>();
  Parts& parts = *session.parts_;
  parts.key = key;
  parts.ssl.reset(SSL_new(*context));
  Owned<BIO, BIO_free> in(BIO_new(BIO_s_mem())), out(BIO_new(BIO_s_mem()));
  if (!parts.ssl || !in || !out) return no_tls("no connection");
  BIO_set_mem_eof_return(in.get(), -1);  // nothing there now is not the end
  parts.in = in.release();
  parts.out = out.release();
  SSL_set_bio(parts.ssl.get(), parts.in, parts.out);
  SSL_set_app_data(parts.ssl.get(), &parts.key);
  if (side == TlsSide::client)
    SSL_set_connect_state(parts.ssl.get());
  else
    SSL_set_accept_state(parts.ssl.get());
  std::string nothing;
  session.advance(nothing);
  return session;
}

void TlsSession::feed(std::string_view bytes, std::string& said) {
  if (state_ == TlsState::failed || state_ == TlsState::ended) return;
  if (!bytes.empty() && BIO_write(parts_->in, bytes.data(), static_cast<int>(bytes.size())) !=
                            static_cast<int>(bytes.size())) {
    state_ = TlsState::failed;
    return;
  }
  advance(said);
}

void TlsSession::advance(std::string& said) {
  SSL* const ssl = parts_->ssl.get();
  ERR_clear_error();
  if (state_ == TlsState::proving) {
    const int done = SSL_do_handshake(ssl);
    if (done != 1) {
      if (SSL_get_error(ssl, done) != SSL_ERROR_WANT_READ) state_ = TlsState::failed;
      return;
    }
    // By the key, and not in any other way that the library may have found.
    state_ = SSL_session_reused(ssl) == 1 ? TlsState::open : TlsState::failed;
  }
  char buffer[1 << 14];
  while (state_ == TlsState::open) {
    const int came = SSL_read(ssl, buffer, sizeof buffer);
    if (came > 0) {
      said.append(buffer, static_cast<std::size_t>(came));
      continue;
    }
    const int error = SSL_get_error(ssl, came);
    if (error == SSL_ERROR_WANT_READ) return;
    state_ = error == SSL_ERROR_ZERO_RETURN ? TlsState::ended : TlsState::failed;
  }
}

void TlsSession::write(std::string_view bytes) {
  ERR_clear_error();
  std::size_t written = 0;
  if (!bytes.empty() && SSL_write_ex(parts_->ssl.get(), bytes.data(), bytes.size(), &written) != 1)
    state_ = TlsState::failed;
}

void TlsSession::end() {
  ERR_clear_error();
  if (state_ == TlsState::open) SSL_shutdown(parts_->ssl.get());
}

void TlsSession::take_output(std::string& out) {
  while (BIO_ctrl_pending(parts_->out) > 0) {
    char buffer[1 << 14];
    const int came = BIO_read(parts_->out, buffer, sizeof buffer);
    if (came <= 0) return;
    out.append(buffer, static_cast<std::size_t>(came));
  }
}

}  // namespace kvhaul
