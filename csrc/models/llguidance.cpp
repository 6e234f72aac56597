#include "models/llguidance.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/error.h"

// The part of llguidance's C interface (1.7 to 1.x) that is used, declared by ourselves. Its
// functions are found by name in the shared object of its Python wheel and called by address.
namespace irt::llg {

struct Tokenizer;
struct Matcher;

// Versioned by its first field: a newer library takes what it does not find for zero.
struct TokenizerInit {
  std::size_t struct_size = sizeof(TokenizerInit);
  std::uint32_t vocab_size = 0;
  std::uint32_t tok_eos = 0;
  const std::uint32_t* token_lens = nullptr;
  const std::uint8_t* token_bytes = nullptr;
  const char* tokenizer_json = nullptr;
  bool tokenize_assumes_string = false;
  void* tokenize_fn = nullptr;
  bool approximate_greedy_tokenize = false;
  const void* tokenize_user_data = nullptr;
  const char* const* slices = nullptr;
  const std::uint32_t* tok_eos_extra = nullptr;
  std::uint32_t tok_eos_extra_count = 0;
};
static_assert(sizeof(TokenizerInit) == 96 && offsetof(TokenizerInit, tokenize_fn) == 48 &&
              offsetof(TokenizerInit, slices) == 72);

// Not versioned: the library fills in its defaults, and may know more fields than these. So it gets
// a zeroed buffer that is much larger than any version of the struct (80 bytes in 1.9).
struct alignas(16) MatcherInit {
  const Tokenizer* tokenizer = nullptr;
  std::uint32_t log_buffer_level = 0;
  std::uint32_t log_stderr_level = 0;
  std::array<unsigned char, 1008> rest{};
};
static_assert(sizeof(MatcherInit) == 1024 && offsetof(MatcherInit, log_stderr_level) == 12);

// In the order of kSymbols.
struct Functions {
  const char* (*get_version)();
  Tokenizer* (*new_tokenizer)(const TokenizerInit*, char* error, std::size_t error_size);
  void (*free_tokenizer)(Tokenizer*);
  void (*init_defaults)(MatcherInit*, const Tokenizer*);
  Matcher* (*new_matcher)(const MatcherInit*, const char* kind, const char* text);
  void (*free_matcher)(Matcher*);
  Matcher* (*clone_matcher)(const Matcher*);
  const char* (*get_error)(Matcher*);  // null: none
  std::size_t (*mask_bytes)(const Matcher*);
  std::int32_t (*compute_mask)(Matcher*, std::uint32_t* mask, std::size_t bytes);
  std::int32_t (*validate_tokens)(Matcher*, const std::uint32_t* tokens, std::size_t count);
  std::int32_t (*consume_token)(Matcher*, std::uint32_t token);
  bool (*is_accepting)(Matcher*);
  std::int32_t (*reset)(Matcher*);
};

constexpr std::array kSymbols{
    "llg_get_version",
    "llg_new_tokenizer_v2",
    "llg_free_tokenizer",
    "llg_constraint_init_set_defaults",
    "llg_new_matcher",
    "llg_free_matcher",
    "llg_clone_matcher",
    "llg_matcher_get_error",
    "llg_matcher_get_mask_byte_size",
    "llg_matcher_compute_mask_into",
    "llg_matcher_validate_tokens",
    "llg_matcher_consume_token",
    "llg_matcher_is_accepting",
    "llg_matcher_reset",
};
static_assert(sizeof(Functions) == kSymbols.size() * sizeof(void*));

}  // namespace irt::llg

namespace irt {
namespace {

std::mutex g_load_mutex;
std::atomic<const llg::Functions*> g_functions{nullptr};  // kept until the process ends

[[nodiscard]] Error failed(const std::string& text) {
  return Error(ErrorCode::kBackendFailed, "[llguidance] " + text);
}

[[nodiscard]] const llg::Functions& functions() {
  const llg::Functions* loaded = g_functions.load(std::memory_order_acquire);
  if (loaded == nullptr) throw failed("is not loaded: call load_llguidance first");
  return *loaded;
}

}  // namespace

class LlgTokenizer {
 public:
  LlgTokenizer(const llg::Functions& calls, const Vocabulary& vocabulary) : calls_(calls) {
    // A token that begins with 0xFF is a control token: no grammar of ours names one.
    std::string bytes;
    std::vector<std::uint32_t> lengths;
    for (std::size_t id = 0; id < vocabulary.size(); ++id) {
      const std::size_t before = bytes.size();
      if (vocabulary.is_control(static_cast<std::int64_t>(id))) {
        bytes += "\xff<" + std::to_string(id) + ">";
      } else {
        bytes += vocabulary.bytes(static_cast<std::int64_t>(id));
      }
      lengths.push_back(static_cast<std::uint32_t>(bytes.size() - before));
    }
    llg::TokenizerInit init;
    init.vocab_size = static_cast<std::uint32_t>(vocabulary.size());
    if (vocabulary.eos().empty()) throw failed("needs a token that ends an answer");
    init.tok_eos = static_cast<std::uint32_t>(vocabulary.eos().front());
    init.token_lens = lengths.data();
    init.token_bytes = reinterpret_cast<const std::uint8_t*>(bytes.data());
    init.approximate_greedy_tokenize = true;  // for forced tokens, which our grammars switch off
    std::array<char, 1024> error{};
    tokenizer_ = calls_.new_tokenizer(&init, error.data(), error.size());
    if (tokenizer_ == nullptr) {
      throw failed(std::string("does not take the tokens: ") + error.data());
    }
  }
  ~LlgTokenizer() { calls_.free_tokenizer(tokenizer_); }
  LlgTokenizer(const LlgTokenizer&) = delete;
  LlgTokenizer& operator=(const LlgTokenizer&) = delete;

  [[nodiscard]] const llg::Functions& calls() const noexcept { return calls_; }
  [[nodiscard]] const llg::Tokenizer* get() const noexcept { return tokenizer_; }

 private:
  const llg::Functions& calls_;
  llg::Tokenizer* tokenizer_ = nullptr;
};

namespace {

using TokenizerRef = std::shared_ptr<const LlgTokenizer>;

// Matchers of one grammar whose answers have ended, back at their start. Their lexers keep what
// they have learnt: a token costs them a microsecond, while a new matcher must first build its
// tables, state by state. They answer alike.
struct MatcherPool {
  static constexpr std::size_t kIdle = 64;
  static constexpr int kUses = 256;  // then it goes, for the tables grow with what was read

  explicit MatcherPool(TokenizerRef vocabulary) : tokenizer(std::move(vocabulary)) {
    idle.reserve(kIdle);
  }
  ~MatcherPool() {
    for (const auto& [matcher, uses] : idle) tokenizer->calls().free_matcher(matcher);
  }
  MatcherPool(const MatcherPool&) = delete;
  MatcherPool& operator=(const MatcherPool&) = delete;

  TokenizerRef tokenizer;
  std::mutex mutex;
  std::vector<std::pair<llg::Matcher*, int>> idle;
};

class LlgMatcher final : public TokenMatcher {
 public:
  LlgMatcher(std::shared_ptr<MatcherPool> pool, llg::Matcher* matcher, int uses) noexcept
      : pool_(std::move(pool)), calls_(pool_->tokenizer->calls()), matcher_(matcher), uses_(uses) {}
  ~LlgMatcher() override {
    if (uses_ < MatcherPool::kUses && calls_.get_error(matcher_) == nullptr &&
        calls_.reset(matcher_) == 0) {
      const std::lock_guard lock(pool_->mutex);
      if (pool_->idle.size() < MatcherPool::kIdle) {
        pool_->idle.emplace_back(matcher_, uses_ + 1);
        return;
      }
    }
    calls_.free_matcher(matcher_);
  }
  LlgMatcher(const LlgMatcher&) = delete;
  LlgMatcher& operator=(const LlgMatcher&) = delete;

  std::unique_ptr<TokenMatcher> clone() const override {
    if (!moved_) {
      const std::lock_guard lock(pool_->mutex);
      if (!pool_->idle.empty()) {
        const auto [matcher, uses] = pool_->idle.back();
        pool_->idle.pop_back();
        return std::make_unique<LlgMatcher>(pool_, matcher, uses);
      }
    }
    auto copy = std::make_unique<LlgMatcher>(pool_, calls_.clone_matcher(matcher_), 0);
    copy->moved_ = moved_;
    return copy;
  }

  bool accepts(std::int64_t token) override {
    const auto id = static_cast<std::uint32_t>(token);
    const std::int32_t valid = calls_.validate_tokens(matcher_, &id, 1);
    if (valid < 0) throw broken();
    return valid == 1;
  }

  void consume(std::int64_t token) override {
    moved_ = true;
    if (calls_.consume_token(matcher_, static_cast<std::uint32_t>(token)) != 0) throw broken();
  }

  bool try_consume(std::int64_t token) override {
    moved_ = true;
    return calls_.consume_token(matcher_, static_cast<std::uint32_t>(token)) == 0;
  }

  void check() const {
    if (calls_.get_error(matcher_) != nullptr) throw broken();
  }

  bool complete() override { return calls_.is_accepting(matcher_); }

  void allowed(std::span<std::uint32_t> bits) override {
    const std::size_t bytes = calls_.mask_bytes(matcher_);
    mask_.resize((bytes + 3) / 4);
    if (calls_.compute_mask(matcher_, mask_.data(), bytes) != 0) throw broken();
    const std::size_t words = std::min(bits.size(), mask_.size());
    std::copy_n(mask_.begin(), words, bits.begin());
    std::fill(bits.begin() + static_cast<std::ptrdiff_t>(words), bits.end(), 0U);
  }

 private:
  [[nodiscard]] Error broken() const {
    const char* reason = calls_.get_error(matcher_);
    return failed(std::string("failed while an answer was read: ") +
                  (reason == nullptr ? "no reason given" : reason));
  }

  std::shared_ptr<MatcherPool> pool_;
  const llg::Functions& calls_;
  llg::Matcher* matcher_;
  int uses_;
  bool moved_ = false;  // no longer at its start
  std::vector<std::uint32_t> mask_;
};

// A grammar whose every mask is known: it reads "ab" or "ac", then ends.
void self_test(const llg::Functions& calls) {
  const std::vector<std::string> tokens{"", "a", "b", "c", "ab", "d", "\xff"};
  const std::vector<std::int64_t> eos{0};
  const Vocabulary vocabulary(tokens, {}, eos);
  const auto tokenizer = std::make_shared<const LlgTokenizer>(calls, vocabulary);
  const auto matcher = make_llg_matcher(
      tokenizer, "self-test", "%llguidance {\"no_forcing\": true}\nstart: \"a\" /[bc]/\n");
  const auto expect = [](bool good, const char* what) {
    if (!good) throw failed(std::string("fails the self-test (") + what + ")");
  };
  std::array<std::uint32_t, 1> bits{};
  matcher->allowed(bits);
  expect(bits[0] == 0b0010010, "the first mask");
  expect(matcher->accepts(1) && matcher->accepts(4) && !matcher->accepts(2) && !matcher->accepts(0),
         "first tokens");
  const auto copy = matcher->clone();
  matcher->consume(1);
  expect(!matcher->complete(), "complete too early");
  matcher->allowed(bits);
  expect(bits[0] == 0b0001100, "the second mask");
  matcher->consume(3);
  expect(matcher->complete(), "not complete at the end");
  copy->allowed(bits);
  expect(bits[0] == 0b0010010 && !copy->complete(), "a clone");
}

[[nodiscard]] bool known_version(const std::string& text) {
  const std::size_t number = text.find_first_of("0123456789");
  if (number == std::string::npos) return false;
  char* rest = nullptr;
  const long major = std::strtol(text.c_str() + number, &rest, 10);
  const long minor = *rest == '.' ? std::strtol(rest + 1, nullptr, 10) : -1;
  return major == 1 && minor >= 7;
}

}  // namespace

std::vector<std::string> llguidance_symbols() {
  return {llg::kSymbols.begin(), llg::kSymbols.end()};
}

void load_llguidance(std::span<const std::uintptr_t> addresses) {
  const std::lock_guard lock(g_load_mutex);
  if (g_functions.load(std::memory_order_acquire) != nullptr) return;
  if (addresses.size() != llg::kSymbols.size()) throw failed("another number of functions");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i] == 0) throw failed(std::string("has no function ") + llg::kSymbols[i]);
  }
  auto calls = std::make_unique<llg::Functions>();
  std::memcpy(calls.get(), addresses.data(), sizeof(llg::Functions));
  const char* version = calls->get_version();
  const std::string text = version == nullptr ? "" : version;
  if (!known_version(text)) {
    throw failed("'" + text + "' is not a version that is known here (>=1.7,<2)");
  }
  self_test(*calls);
  g_functions.store(calls.release(), std::memory_order_release);
}

std::string llguidance_version() {
  const llg::Functions* loaded = g_functions.load(std::memory_order_acquire);
  return loaded == nullptr ? "" : loaded->get_version();
}

std::shared_ptr<const LlgTokenizer> make_llg_tokenizer(const Vocabulary& vocabulary) {
  return std::make_shared<const LlgTokenizer>(functions(), vocabulary);
}

std::unique_ptr<TokenMatcher> make_llg_matcher(TokenizerRef tokenizer, const std::string& name,
                                               const std::string& lark) {
  const llg::Functions& calls = tokenizer->calls();
  llg::MatcherInit init;
  calls.init_defaults(&init, tokenizer->get());
  init.log_stderr_level = 0;
  auto pool = std::make_shared<MatcherPool>(tokenizer);
  auto matcher = std::make_unique<LlgMatcher>(std::move(pool),
                                              calls.new_matcher(&init, "lark", lark.c_str()), 0);
  try {
    matcher->check();
  } catch (const Error& error) {
    throw Error(ErrorCode::kBadPack,
                "[grammar " + name + "] llguidance cannot compile it: " + error.what());
  }
  return matcher;
}

}  // namespace irt
