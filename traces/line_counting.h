// For readers of JSON files: where in the text the JSON library is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace kvhaul {

/// Characters for the JSON library, counting lines as it goes.
class LineCounting {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  LineCounting(const char* at, std::uint64_t& line) : at_(at), line_(&line) {}
  const char& operator*() const { return *at_; }
  LineCounting& operator++() {
    *line_ += *at_++ == '\n';
    return *this;
  }
  friend bool operator==(const LineCounting& a, const LineCounting& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  std::uint64_t* line_;
};

}  // namespace kvhaul
