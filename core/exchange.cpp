#include "core/exchange.h"

#include <cstring>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

constexpr int round_trips = 64;

// Lists of texts on their way: a length of 8 bytes in front of each.
void append(std::string& out, std::string_view text) {
  const std::uint64_t bytes = text.size();
  out.append(reinterpret_cast<const char*>(&bytes), sizeof bytes).append(text);
}

Result<std::vector<std::string>> split(std::string_view all, std::uint32_t count,
                                       std::uint32_t from) {
  const auto cut_off = [&] {
    return Error::failed("process " + std::to_string(from) + " sent a list that is cut off");
  };
  std::vector<std::string> texts;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint64_t bytes = 0;
    if (all.size() < sizeof bytes) return cut_off();
    std::memcpy(&bytes, all.data(), sizeof bytes);
    all.remove_prefix(sizeof bytes);
    if (all.size() < bytes) return cut_off();
    texts.emplace_back(all.substr(0, bytes));
    all.remove_prefix(bytes);
  }
  return texts;
}

std::string text_of(TimeNs time) { return {reinterpret_cast<const char*>(&time), sizeof time}; }

Result<TimeNs> time_in(const std::string& text) {
  TimeNs time = 0;
  if (text.size() != sizeof time) return Error::failed("a process sent something else than a time");
  std::memcpy(&time, text.data(), sizeof time);
  return time;
}

}  // namespace

Result<std::vector<std::string>> Exchange::receive_from_all() {
  std::vector<std::string> messages(1);
  for (std::uint32_t rank = 1; rank < size(); ++rank) {
    auto message = receive(rank);
    if (!message) return message.error();
    messages.push_back(std::move(*message));
  }
  return messages;
}

std::string farewell_of(const Error& error) {
  return static_cast<char>('0' + static_cast<int>(error.kind)) + error.message;
}

Error farewell_in(std::string_view text, std::uint32_t from) {
  const int kind = text.empty() ? 0 : text[0] - '0';
  if (kind < 1 || kind > 3) return Error::failed("process " + std::to_string(from) + " gave up");
  // What process 0 passes on says already whose it is.
  constexpr std::size_t shown_max = 1000;
  const std::string message = printable(text.substr(1), shown_max);
  return {static_cast<ErrorKind>(kind), message.starts_with("process ")
                                            ? message
                                            : "process " + std::to_string(from) + ": " + message};
}

Result<std::vector<std::string>> all_gather(Exchange& exchange, std::string_view mine) {
  if (exchange.rank() != 0) {
    if (auto sent = exchange.send(0, mine); !sent) return sent.error();
    auto all = exchange.receive(0);
    if (!all) return all.error();
    return split(*all, exchange.size(), 0);
  }
  auto came = exchange.receive_from_all();
  if (!came) return came.error();
  std::vector<std::string> texts = std::move(*came);
  texts[0] = mine;
  std::string all;
  for (const std::string& text : texts) append(all, text);
  for (std::uint32_t rank = 1; rank < exchange.size(); ++rank)
    if (auto sent = exchange.send(rank, all); !sent) return sent.error();
  return texts;
}

Result<std::vector<std::string>> all_to_all(Exchange& exchange,
                                            const std::vector<std::string>& for_each) {
  const std::uint32_t size = exchange.size();
  check(for_each.size() == size, "a text for every process");
  if (exchange.rank() != 0) {
    std::string mine;
    for (const std::string& text : for_each) append(mine, text);
    if (auto sent = exchange.send(0, mine); !sent) return sent.error();
    auto all = exchange.receive(0);
    if (!all) return all.error();
    return split(*all, size, 0);
  }
  auto came = exchange.receive_from_all();
  if (!came) return came.error();
  std::vector<std::vector<std::string>> of_all = {for_each};
  for (std::uint32_t rank = 1; rank < size; ++rank) {
    auto texts = split((*came)[rank], size, rank);
    if (!texts) return texts.error();
    of_all.push_back(std::move(*texts));
  }
  for (std::uint32_t to = 1; to < size; ++to) {
    std::string all;
    for (const auto& texts : of_all) append(all, texts[to]);
    if (auto sent = exchange.send(to, all); !sent) return sent.error();
  }
  std::vector<std::string> for_me;
  for (auto& texts : of_all) for_me.push_back(std::move(texts[0]));
  return for_me;
}

Result<ClockOffset> clock_offset(Exchange& exchange, const std::function<TimeNs()>& now) {
  ClockOffset best{0, never_ns};
  if (exchange.rank() != 0) {
    for (int i = 0; i < round_trips; ++i) {
      const TimeNs before = now();
      if (auto sent = exchange.send(0, "time"); !sent) return sent.error();
      auto answer = exchange.receive(0);
      if (!answer) return answer.error();
      const TimeNs after = now();
      auto there = time_in(*answer);
      if (!there) return there.error();
      const TimeNs half = (after - before + 1) / 2;
      if (half < best.uncertain_ns) best = {*there - (before + half), half};
    }
    return best;
  }
  for (std::uint32_t rank = 1; rank < exchange.size(); ++rank)
    for (int i = 0; i < round_trips; ++i) {
      if (auto asked = exchange.receive(rank); !asked) return asked.error();
      if (auto sent = exchange.send(rank, text_of(now())); !sent) return sent.error();
    }
  return ClockOffset{};
}

Result<void> Alone::send(std::uint32_t, std::string_view) {
  return Error::failed("there is no other process");
}
Result<std::string> Alone::receive(std::uint32_t) {
  return Error::failed("there is no other process");
}

}  // namespace kvhaul
