// Random engines under random trouble: what the long runs under the sanitizers repeat.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "engine/harness.h"

namespace irt::test {

struct StormTotals {
  int requests = 0;
  std::array<int, 4> ends{};  // by Outcome
  int forgotten = 0;          // while they ran
  int closed = 0;             // engines that were closed while they ran
  int lanes_lost = 0;
  int outside = 0;  // engines with lanes from outside
  std::uint64_t handed_out = 0;
  std::uint64_t leases = 0;  // that ran out
  std::uint64_t strays = 0;  // answers to calls that had ended
  void add(const StormTotals& other);
};

// kCalm: scripted lanes, eight requests with a reader each (a third of them slow); every one must
// end as the sequential loop does. kFailing: one call in ten fails.
// kStorm: a call takes well under a millisecond; in half of the storms also or only lanes from
// outside, most of whose workers fail, hang, die, answer twice or late; and meanwhile cancels,
// deadlines, dying lanes, requests that are forgotten and an engine that is closed.
enum class Weather { kCalm, kFailing, kStorm };

// One engine; everything but the timing follows from `seed`. Returns what was broken of: law 1
// against the sequential loop, one end for each request, nothing out of order, nothing left behind.
// Empty: nothing.
std::string storm(Weather weather, std::uint64_t seed, StormTotals& totals);

// Runs `body(index)` for 0 <= index < count on `jobs` threads; returns what it complained of, at
// most ten of them.
std::vector<std::string> in_parallel(int count, int jobs,
                                     const std::function<std::string(int)>& body);

// An environment variable as a number, `usual` where it is not set.
std::uint64_t setting(const char* name, std::uint64_t usual);

// Answers the driver's text jobs.
class TextWorker {
 public:
  explicit TextWorker(Driver& driver, std::function<EncodedText(const TextJob&)> encode = {});

 private:
  std::jthread thread_;
};

// Keeps `window` requests under way, each cancelled at a random moment (or left to its end with
// probability `finish`), read to its end and forgotten, until `enough()`. One client thread.
struct ClientTotals {
  std::uint64_t requests = 0;
  std::uint64_t refused = 0;  // by admission
  std::array<std::uint64_t, 4> ends{};
  std::string fault;  // the first one
};
struct ClientConfig {
  std::uint64_t seed = 1;
  int window = 8;
  int longest_us = 1500;  // until the cancel
  double finish = 0.0;
  double forget_unread = 0.1;      // a cancelled request that nobody reads
  const Script* script = nullptr;  // what finished requests are compared with
};
ClientTotals run_client(Driver& driver, const ClientConfig& config,
                        const std::function<bool()>& enough);
// `clients` of them at once, with seeds that count on from the config's.
ClientTotals run_clients(Driver& driver, const ClientConfig& config, int clients,
                         const std::function<bool()>& enough);

}  // namespace irt::test
