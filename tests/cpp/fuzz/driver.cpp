// Runs a fuzz target without libFuzzer, so that any compiler and CI can:
//   fuzz_x                      a seeded random corpus for IRT_FUZZ_SECONDS (2) or IRT_FUZZ_RUNS;
//                               with both, until the first of them is reached
//   fuzz_x FILE...              these inputs, for instance one that libFuzzer found
//   fuzz_x --write-corpus DIR   the seed inputs, to start libFuzzer from
// Input i depends on IRT_SEED and i alone: IRT_FUZZ_FROM=i IRT_FUZZ_RUNS=1 replays it.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzz.h"

extern "C" {
// Of the sanitizers' runtime, where the program is built with one.
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());
}

namespace {

using Input = std::string;
constexpr unsigned kHangSeconds = 20;  // for one input; sanitizers and a busy machine included

const char* program = "fuzz";
std::uint64_t first_seed = 0;
std::uint64_t current = 0;

std::uint64_t env(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 10);
}

void say_replay() {
  char line[512];
  const int size = std::snprintf(line, sizeof(line),
                                 "replay: IRT_SEED=%llu IRT_FUZZ_FROM=%llu IRT_FUZZ_RUNS=1 %s\n",
                                 static_cast<unsigned long long>(first_seed),
                                 static_cast<unsigned long long>(current), program);
  if (size > 0) {
    [[maybe_unused]] const auto put = write(STDERR_FILENO, line, static_cast<std::size_t>(size));
  }
}

extern "C" void on_signal(int number) {
  if (number == SIGALRM) {
    static const char kHang[] = "fuzz: one input hangs\n";
    [[maybe_unused]] const auto put = write(STDERR_FILENO, kHang, sizeof(kHang) - 1);
  }
  say_replay();
  std::signal(number == SIGALRM ? SIGABRT : number, SIG_DFL);
  std::raise(number == SIGALRM ? SIGABRT : number);
}

class Mutator {
 public:
  Mutator() : corpus_(irt::fuzz::seeds()), limit_(irt::fuzz::max_size()) {}

  Input make(std::uint64_t seed, std::uint64_t index) {
    std::seed_seq words{seed & 0xffffffffU, seed >> 32, index & 0xffffffffU, index >> 32};
    random_.seed(words);
    Input input;
    if (!corpus_.empty() && below(8) != 0) input = corpus_[below(corpus_.size())];
    if (input.empty()) {
      input.resize(below(1 + (below(4) == 0 ? limit_ : std::size_t{64})));
      for (char& byte : input) byte = any();
    }
    for (std::size_t turns = below(9); turns > 0; --turns) change(input);
    if (input.size() > limit_) input.resize(limit_);
    return input;
  }

 private:
  std::size_t below(std::size_t bound) {
    return bound == 0 ? 0 : static_cast<std::size_t>(random_() % bound);
  }
  char any() { return static_cast<char>(random_() & 0xff); }

  void change(Input& input) {
    const std::size_t at = below(input.size() + 1);
    const std::size_t length = 1 + below(below(3) == 0 ? 64 : 4);
    switch (below(7)) {
      case 0:  // flip a bit
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < input.size()) input[at] = any();
        break;
      case 2:
        for (std::size_t i = 0; i < length; ++i) input.insert(input.begin() + offset(at), any());
        break;
      case 3: input.erase(at, length); break;
      case 4:  // say a part again
        input.insert(at, input.substr(below(input.size() + 1), length));
        break;
      case 5:  // a part of another seed
        if (!corpus_.empty()) {
          const Input& other = corpus_[below(corpus_.size())];
          input.insert(at, other.substr(below(other.size() + 1), 8 * length));
        }
        break;
      default: input.resize(at); break;
    }
  }
  static std::ptrdiff_t offset(std::size_t at) { return static_cast<std::ptrdiff_t>(at); }

  std::vector<Input> corpus_;
  std::size_t limit_;
  std::mt19937_64 random_;
};

void run_one(const Input& input) {
  alarm(kHangSeconds);
  // A copy of exactly this size, so that AddressSanitizer sees a read past the end.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  (void)LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  alarm(0);
}

int write_corpus(const std::string& folder) {
  int number = 0;
  for (const Input& input : irt::fuzz::seeds()) {
    std::ofstream file(folder + "/seed-" + std::to_string(number++), std::ios::binary);
    file << input;
    if (!file) {
      std::fprintf(stderr, "cannot write to %s: make the folder first\n", folder.c_str());
      return 1;
    }
  }
  std::printf("%d seeds in %s\n", number, folder.c_str());
  return 0;
}

int run_files(int count, char** names) {
  for (int i = 0; i < count; ++i) {
    std::ifstream file(names[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", names[i]);
      return 1;
    }
    run_one(Input(std::istreambuf_iterator<char>(file), {}));
    std::printf("%s: passed\n", names[i]);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  program = argv[0];
  if (argc == 3 && std::string(argv[1]) == "--write-corpus") return write_corpus(argv[2]);
  for (const int number : {SIGABRT, SIGSEGV, SIGFPE, SIGALRM}) std::signal(number, on_signal);
  if (argc > 1) return run_files(argc - 1, argv + 1);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(say_replay);

  using Clock = std::chrono::steady_clock;
  Mutator mutator;  // before the clock starts: its seeds take a while
  first_seed = env("IRT_SEED", 20260613);
  current = env("IRT_FUZZ_FROM", 0);
  const std::uint64_t runs = env("IRT_FUZZ_RUNS", 0);
  const std::uint64_t seconds = env("IRT_FUZZ_SECONDS", runs != 0 ? 0 : 2);  // 0: no limit
  const auto until = Clock::now() + std::chrono::seconds(seconds);
  std::uint64_t done = 0;
  for (; (runs == 0 || done < runs) && (seconds == 0 || Clock::now() < until); ++done, ++current) {
    run_one(mutator.make(first_seed, current));
  }
  std::printf("%s: IRT_SEED=%llu, %llu inputs, no failure\n", program,
              static_cast<unsigned long long>(first_seed), static_cast<unsigned long long>(done));
  return done > 0 ? 0 : 1;
}
