#include "serving/timing.h"

namespace kvhaul {
Result<TimingTable> read_splitwise_profile(const std::string& path, const std::string&,
                                           const std::string&, std::uint32_t) {
  return Error::missing(path);
}
Result<TimingPolynomial> read_distserve_profile(const std::string& path, const std::string&,
                                                std::uint32_t) {
  return Error::missing(path);
}
}  // namespace kvhaul
