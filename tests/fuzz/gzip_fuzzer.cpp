// Unpacks bytes as gzip data, from a stream that gives them in parts of any size.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>

#include "core/result.h"
#include "traces/gzip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  const std::string all(reinterpret_cast<const char*>(data), size);
  // What was taken from a stream already may be all, or nothing, of it.
  const std::size_t head = all.empty() ? 0 : static_cast<unsigned char>(all.back()) % (size + 1);
  GzipStream gzip(std::make_unique<std::istringstream>(all.substr(head)), all.substr(0, head));
  std::string part(1000, '\0');
  std::size_t unpacked = 0;
  constexpr std::size_t enough = std::size_t{64} << 20;
  while (gzip.good() && unpacked < enough) {
    gzip.read(part.data(), static_cast<std::streamsize>(part.size()));
    unpacked += static_cast<std::size_t>(gzip.gcount());
  }
  check(gzip.bad() || gzip.damage().empty(), "damage is said by bad()");
  check(!gzip.bad() || !gzip.damage().empty(), "a stream in memory can always be read");
  return 0;
}
