// Feeds bytes to what reads a rendezvous file, the first line on a connection, and the messages of
// a process that has proved itself.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "processes/frames.h"
#include "processes/preamble.h"
#include "processes/rendezvous.h"
#include "tests/fuzz/input_errors.h"

namespace kvhaul {
namespace {

void read_file(std::string_view text) {
  const auto file = parse_rendezvous(text, "meet");
  if (!file) return check_error(file.error());
  const auto again = parse_rendezvous(rendezvous_text(*file), "meet");
  check(again && again->addresses == file->addresses && again->port == file->port &&
            again->secret == file->secret && again->machine == file->machine,
        "a rendezvous is written as it is read");
  (void)addresses_from_here(*file);
}

void read_preamble(std::string_view text) {
  for (std::size_t size = 0; size < std::min(text.size(), preamble_bytes_max); ++size)
    if (!may_be_preamble(text.substr(0, size)))
      check(!parse_preamble(text), "what begins wrong is no preamble");
  const auto preamble = parse_preamble(text);
  if (preamble && preamble->protocol == exchange_protocol)
    check(preamble_line(*preamble) == std::string(text) + "\n", "a line is said as it is read");
}

/// Whole, and cut in two wherever: the same messages, the same damage.
void read_frames(std::string_view bytes) {
  FrameReader whole, cut;
  whole.feed(bytes);
  const std::size_t middle = bytes.size() / 3;
  if (cut.feed(bytes.substr(0, middle))) cut.feed(bytes.substr(middle));
  check(whole.damage() == cut.damage(), "one damage however it came");
  check(whole.waiting_bytes() <= bytes.size(), "no more is kept than came");
  while (const auto frame = whole.take()) {
    const auto other = cut.take();
    check(other && other->kind == frame->kind && other->bytes == frame->bytes,
          "one message however it came");
    check(frame->kind != FrameKind::beat, "beats are not for the reader");
  }
  check(!cut.take() && whole.waiting_bytes() == 0, "as many messages however they came");
}

}  // namespace
}  // namespace kvhaul

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_file(text);
  read_preamble(text);
  read_frames(text);
  return 0;
}
