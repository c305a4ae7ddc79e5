// Feeds bytes to what reads a rendezvous file, and the first line on a connection.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "processes/rendezvous.h"
#include "tests/fuzz/input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto file = parse_rendezvous(text, "meet")) {
    const auto again = parse_rendezvous(rendezvous_text(*file), "meet");
    check(again && again->addresses == file->addresses && again->secret == file->secret,
          "a rendezvous is written as it is read");
  } else {
    check_error(file.error());
  }
  if (const auto hello = parse_hello(text)) {
    const std::string line = hello_line(*hello);
    check(line.size() <= hello_bytes_max + 16, "a hello is a short line");
    check(hello->secret.size() >= 16, "a hello has a secret");
  } else {
    check_error(hello.error());
  }
  return 0;
}
