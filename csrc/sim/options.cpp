// options.cpp — reads the options from the environment, once.
#include "sim/options.h"

#include <cstdlib>
#include <stdexcept>

namespace pynn::sim {

namespace {

long number(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::atol(text) : otherwise;
}

std::string word(const char* name, const char* otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? text : otherwise;
}

Order order_of(std::string_view word) {
  if (word == "ascending") return Order::ASCENDING;
  if (word == "descending") return Order::DESCENDING;
  if (word == "random") return Order::RANDOM;
  throw std::invalid_argument(
      "[set_schedule] order: expected ascending, descending or random, got " + std::string(word));
}

Async async_of(std::string_view word) {
  if (word == "now") return Async::NOW;
  if (word == "late") return Async::LATE;
  if (word == "random") return Async::RANDOM;
  throw std::invalid_argument("[set_schedule] async: expected now, late or random, got " +
                              std::string(word));
}

Options from_environment() {
  Options o;
  o.order = order_of(word("PYNN_SIM_ORDER", "ascending"));
  o.async = async_of(word("PYNN_SIM_ASYNC", "now"));
  o.seed = uint32_t(number("PYNN_SIM_SEED", 1));
  o.os_threads = int(number("PYNN_SIM_THREADS", 1));
  const long kib = variant() == "address" ? 512 : 64;
  o.stack_bytes = size_t(number("PYNN_SIM_STACK", kib)) << 10;
  return o;
}

}  // namespace

Options& options() {
  static Options o = from_environment();
  return o;
}

Counters& counters() {
  static Counters c;
  return c;
}

void set_schedule(std::string_view order, std::string_view async, uint32_t seed) {
  const Order o = order_of(order);
  const Async a = async_of(async);
  options().order = o;
  options().async = a;
  options().seed = seed;
}

std::string_view variant() {
#if defined(PYNN_SIM_RACE)
  return "race";
#elif defined(__SANITIZE_ADDRESS__)
  return "address";
#else
  return "";
#endif
}

}  // namespace pynn::sim
