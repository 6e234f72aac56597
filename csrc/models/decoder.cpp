#include "models/decoder.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "models/decoder_graph.h"
#include "models/lookup.h"
#include "models/vlm_family.h"

namespace irt {
namespace {

constexpr std::size_t kKeptAnswers = 4096;  // tokens of them, to guess from
constexpr int kFirstDraft = 4;              // tokens guessed for a row
constexpr int kMostDraft = 7;               // more of them are right too seldom for what they cost

// ---- prompts: image tokens expanded, positions computed --------------------------------------

// An image's tokens start at index `start` of the expanded prompt.
struct ImageSpan {
  int start = 0;
  std::shared_ptr<const VisionFeatures> features;
};

struct ExpandedPrompt {
  std::vector<std::int64_t> ids;
  std::vector<ImageSpan> images;
  Positions positions;
};

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kBadRequest, "[BatchedDecoder.admit] " + message);
}

[[nodiscard]] ImageGrid grid_of(const VisionFeatures& features, const DecoderConfig& config,
                                std::size_t index) {
  const ImageGrid grid{features.grid_height / config.merge_size,
                       features.grid_width / config.merge_size};
  const std::size_t floats = size(features.tokens) * size(config.hidden);
  if (features.tokens <= 0 || grid.rows * grid.columns != features.tokens ||
      features.embeds.size() != floats ||
      features.deepstack.size() != size(config.deepstack_levels) * floats) {
    refuse("the features of image " + std::to_string(index) +
           " do not fit this decoder: encode it with the vision encoder of the same pack");
  }
  return grid;
}

// Throws Error(kBadRequest) for an empty prompt, an id outside the vocabulary, a number of image
// tokens that is not the number of images, or features that do not fit the configuration.
[[nodiscard]] ExpandedPrompt expand_prompt(const Prompt& prompt, const DecoderConfig& config) {
  if (prompt.ids.empty()) refuse("the prompt is empty");
  if (prompt.max_new_tokens < 1) refuse("max_new_tokens must be at least 1");
  const auto marks = std::ranges::count(prompt.ids, config.image_token_id);
  if (marks != std::ssize(prompt.images)) {
    refuse(std::to_string(marks) + " image tokens for " + std::to_string(prompt.images.size()) +
           " images: the prompt needs one image token for each image");
  }
  ExpandedPrompt result;
  std::vector<ImageGrid> grids;
  for (const std::int64_t id : prompt.ids) {
    if (id < 0 || id >= config.vocab) {
      refuse("token id " + std::to_string(id) + " is outside the vocabulary of " +
             std::to_string(config.vocab));
    }
    if (id != config.image_token_id) {
      result.ids.push_back(id);
      continue;
    }
    const auto& features = prompt.images[grids.size()];
    if (features == nullptr) refuse("image " + std::to_string(grids.size()) + " has no features");
    grids.push_back(grid_of(*features, config, grids.size()));
    result.images.push_back({static_cast<int>(result.ids.size()), features});
    result.ids.insert(result.ids.end(), static_cast<std::size_t>(features->tokens), id);
  }
  result.positions = vlm_family(config.family).positions(result.ids, config.image_token_id, grids);
  return result;
}

// How many leading tokens of `prompt` a row holds whose first `ids.size()` tokens are cached. An
// image is the same when its features are the same object.
[[nodiscard]] int common_prefix(std::span<const std::int64_t> ids,
                                std::span<const ImageSpan> images, const ExpandedPrompt& prompt) {
  const auto end = std::ranges::mismatch(ids, prompt.ids).in1;
  const int common = static_cast<int>(end - ids.begin());
  for (const ImageSpan& image : prompt.images) {
    if (image.start >= common) break;
    const auto same = [&](const ImageSpan& cached) {
      return cached.start == image.start && cached.features == image.features;
    };
    if (std::ranges::none_of(images, same)) return image.start;
  }
  return common;
}

// ---- rows ---------------------------------------------------------------------------------

// A row of the cache and the sequence in it. A free slot keeps what it caches, for reuse.
struct Slot {
  SequenceId id = 0;                    // 0: free
  bool running = false;                 // takes part in steps
  std::vector<std::int64_t> ids;        // prompt, then answer; the last one may not be cached yet
  std::vector<ImageSpan> images;        // of the prompt
  std::vector<std::int64_t> positions;  // of the prompt: [3, prompt]
  std::int64_t next_position = 0;       // of the first answer token
  int prompt = 0;                       // tokens
  int cached = 0;                       // tokens in the cache: the first ones of `ids`
  int planned = 0;                      // tokens of the step in progress
  std::vector<std::int64_t> draft;      // guessed: what may follow after `ids`
  int draft_limit = kFirstDraft;        // tokens: more where guesses prove right
  int max_new_tokens = 0;
  SamplingParams sampling;
  std::shared_ptr<const Grammar> grammar;
  std::unique_ptr<GrammarState> state;  // null: not constrained
  std::string problem;                  // of the state, once it has failed
  std::uint64_t last_used = 0;
  bool unclean = false;  // may hold anything behind what it caches, because zeroing has failed

  [[nodiscard]] bool free() const noexcept { return id == 0; }
  [[nodiscard]] bool prefilling() const noexcept { return running && cached < prompt; }
  [[nodiscard]] bool decoding() const noexcept { return running && cached >= prompt; }
  // What another prompt may take over. The answer's part of the cache was computed one token at a
  // time, which may round otherwise than the same tokens inside a prompt.
  [[nodiscard]] std::span<const std::int64_t> reusable() const noexcept {
    return std::span(ids).first(size(std::min(cached, prompt)));
  }
};

}  // namespace

struct BatchedDecoder::Impl {
  DecoderConfig config;
  DecoderGraph graph;
  TokenLookup lookup{kKeptAnswers};
  std::vector<Slot> slots;
  std::vector<std::int64_t> ids;        // scratch: tokens of a row in the step
  std::vector<std::int64_t> positions;  // likewise
  std::vector<int> used;                // likewise: tokens that rows cache
  Counters counters;
  StopSwitch stop;
  SequenceId next_id = 1;
  std::uint64_t clock = 0;
  std::vector<std::uint32_t>
      permitted;  // bit t: token t is not forbidden; empty: all are permitted

  Impl(const std::string& path, const DecoderConfig& settings, const SessionOptions& options)
      : config(settings), graph(path, settings, options), slots(size(settings.slots)) {
    // A token costs no allocation.
    for (Slot& slot : slots) slot.ids.reserve(size(config.cache_length) + 1);
    used.resize(slots.size());
    if (config.forbidden_token_ids.empty()) return;
    permitted.assign((size(config.vocab) + 31) / 32, ~0U);
    for (const std::int64_t id : config.forbidden_token_ids) {
      const auto bit = static_cast<std::size_t>(id);
      if (bit < size(config.vocab)) permitted[bit / 32] &= ~(1U << (bit % 32));
    }
  }

  [[nodiscard]] Slot& slot(int row) noexcept { return slots[size(row)]; }

  // ---- admission ----------------------------------------------------------------------------

  // The free row that keeps occupied rows closest together; then the one that holds most of the
  // prompt; then the one that has been free for longest. -1: none is free.
  [[nodiscard]] int choose_row(const std::vector<int>& common) const noexcept {
    int first = config.slots;
    int last = -1;
    for (int row = 0; row < config.slots; ++row) {
      if (slots[size(row)].free()) continue;
      first = std::min(first, row);
      last = row;
    }
    const auto rank = [&](int row) {
      const int growth = last < 0 ? 0 : std::max({0, first - row, row - last});
      return std::tuple(growth, -common[size(row)], slots[size(row)].last_used, row);
    };
    int best = -1;
    for (int row = 0; row < config.slots; ++row) {
      if (slots[size(row)].free() && (best < 0 || rank(row) < rank(best))) best = row;
    }
    return best;
  }

  [[nodiscard]] SequenceId admit(const Prompt& prompt) {
    ExpandedPrompt expanded = expand_prompt(prompt, config);
    const std::size_t tokens = expanded.ids.size();
    if (tokens + size(prompt.min_new_tokens) > size(config.cache_length)) {
      throw Error(ErrorCode::kLimitExceeded,
                  "[BatchedDecoder.admit] a prompt of " + std::to_string(tokens) +
                      " tokens leaves " +
                      std::to_string(std::max(0, config.cache_length - static_cast<int>(tokens))) +
                      " of a cache of " + std::to_string(config.cache_length) +
                      " for the answer, which needs " + std::to_string(prompt.min_new_tokens) +
                      " at the least: shorten the request, use smaller images, or export the model "
                      "with a longer cache");
    }
    std::vector<int> common(slots.size(), 0);
    if (config.reuse_prefix) {
      for (std::size_t row = 0; row < slots.size(); ++row) {
        const int same = common_prefix(slots[row].reusable(), slots[row].images, expanded);
        common[row] = std::min(same, static_cast<int>(tokens) - 1);  // the last one makes logits
      }
    }
    const int row = choose_row(common);
    if (row < 0) {
      throw Error(ErrorCode::kOverloaded, "[BatchedDecoder.admit] all " +
                                              std::to_string(config.slots) +
                                              " slots are taken: release a sequence first");
    }
    const int answer =
        config.cache_length - static_cast<int>(tokens) + 1;  // tokens, see stop_reason
    auto state =
        prompt.grammar ? prompt.grammar->begin(std::min(prompt.max_new_tokens, answer)) : nullptr;
    const int donor = static_cast<int>(std::ranges::max_element(common) - common.begin());
    const int reused = common[size(donor)];
    Slot& slot = this->slot(row);
    if (reused > common[size(row)]) graph.cache().copy_prefix(donor, row, reused);

    slot.ids.assign(expanded.ids.begin(), expanded.ids.end());
    slot.images = std::move(expanded.images);
    slot.positions = std::move(expanded.positions.ids);
    slot.next_position = expanded.positions.next;
    slot.draft_limit = kFirstDraft;
    slot.prompt = static_cast<int>(tokens);
    slot.cached = reused;
    slot.max_new_tokens = prompt.max_new_tokens;
    slot.sampling = prompt.sampling;
    slot.state = std::move(state);
    slot.grammar = prompt.grammar;
    slot.running = true;
    slot.id = next_id++;
    counters.prompt_tokens += tokens;
    counters.reused_tokens += static_cast<std::uint64_t>(reused);
    return slot.id;
  }

  // ---- step ---------------------------------------------------------------------------------

  // Rows [first, second) hold all sequences that decode.
  [[nodiscard]] std::pair<int, int> decode_range() const noexcept {
    std::pair<int, int> range{config.slots, 0};
    for (int row = 0; row < config.slots; ++row) {
      if (!slots[size(row)].decoding()) continue;
      range.first = std::min(range.first, row);
      range.second = row + 1;
    }
    return range;
  }

  void move_row(int from, int to) {
    graph.cache().copy_prefix(from, to, slot(from).cached);
    std::swap(slot(from), slot(to));
    slot(from).cached = 0;
    ++counters.moved_rows;
  }

  // Fills free rows between decoding ones from an end of the range, by the cheaper move. Rows that
  // are not free (in prefill, or waiting for their release) stay: a step computes them for nothing.
  void compact() {
    for (;;) {
      const auto [first, end] = decode_range();
      int hole = first;
      while (hole < end && !slot(hole).free()) ++hole;
      if (hole >= end) return;
      const int last = end - 1;
      move_row(slot(first).cached < slot(last).cached ? first : last, hole);
    }
  }

  // Guesses for every row that decodes; returns how many tokens of a row a step takes.
  [[nodiscard]] int draft(int first, int end) {
    int width = 1;
    int room = config.cache_length;  // padding is written as well
    const int share = first < end ? graph.draft_tokens() / (end - first) : 0;
    for (int row = first; row < end; ++row) {
      Slot& slot = this->slot(row);
      slot.draft.clear();
      if (!slot.decoding()) continue;
      room = std::min(room, config.cache_length - slot.cached);
      const int answered = static_cast<int>(slot.ids.size()) - slot.prompt;
      const int count = std::min({share, slot.draft_limit, slot.max_new_tokens - answered - 1});
      if (count <= 0) continue;
      lookup.guess(slot.ids, size(count), slot.draft);
      width = std::max(width, 1 + static_cast<int>(slot.draft.size()));
    }
    return std::min(width, room);
  }

  // Tokens of a prompt that the next step takes; 0: the row is not in its prompt.
  [[nodiscard]] int chunk_of(const Slot& slot) const noexcept {
    return slot.prefilling() ? std::min(config.prefill_chunk, slot.prompt - slot.cached) : 0;
  }

  // Room in the cache for a step that takes `width` tokens of answers.
  void fit(int width) {
    const int least = std::max(width, DecoderGraph::padded(1));
    int needed = least;
    for (int row = 0; row < config.slots; ++row) {
      const Slot& slot = this->slot(row);
      const int chunk = chunk_of(slot);
      const int more = slot.running ? std::max(least, DecoderGraph::padded(chunk)) : 0;
      used[size(row)] = slot.cached;
      needed = std::max(needed, slot.cached + more);
    }
    graph.fit(std::min(needed, config.cache_length), used);
  }

  void run_decode(int first, int end, int width) {
    if (first >= end) return;
    Run& prepared = graph.begin_answers(first, end - first, width);
    for (int row = first; row < end; ++row) {
      Slot& slot = this->slot(row);
      ids.assign(1, 0);
      std::int64_t position = 0;
      if (slot.decoding()) {
        slot.draft.resize(std::min(slot.draft.size(), size(width - 1)));
        slot.planned = 1 + static_cast<int>(slot.draft.size());
        ids[0] = slot.ids[size(slot.cached)];
        ids.insert(ids.end(), slot.draft.begin(), slot.draft.end());
        position = slot.next_position + slot.cached - slot.prompt;
      } else {
        // Computed for nothing: the run writes behind what the row caches.
        slot.cached = std::min(slot.cached, graph.cache().length() - width);
        position = slot.cached;
      }
      positions.resize(ids.size());
      std::iota(positions.begin(), positions.end(), position);
      graph.set_row(row, ids.data(), positions.data(), 0, static_cast<int>(ids.size()),
                    slot.cached);
    }
    stop.run(prepared);
  }

  void run_prefill() {
    for (int first = 0; first < config.slots;) {
      const int chunk = chunk_of(slot(first));
      int end = first + 1;
      const int most = config.prefill_rows > 0 ? first + config.prefill_rows : config.slots;
      while (chunk > 0 && end < std::min(most, config.slots) && chunk_of(slot(end)) == chunk) ++end;
      if (chunk > 0) {
        Run& prepared = graph.begin_prefill(first, end - first, chunk);
        for (int row = first; row < end; ++row) {
          Slot& slot = this->slot(row);
          slot.planned = chunk;
          graph.set_row(row, slot.ids.data() + slot.cached, slot.positions.data() + slot.cached,
                        slot.prompt, chunk, slot.cached);
          stage_images(row);
        }
        stop.run(prepared);
      }
      first = end;
    }
  }

  // The parts of the row's images that lie in its planned chunk.
  void stage_images(int row) {
    const Slot& slot = this->slot(row);
    for (const ImageSpan& image : slot.images) {
      const int first = std::max(image.start, slot.cached);
      const int end = std::min(image.start + image.features->tokens, slot.cached + slot.planned);
      if (first >= end) continue;
      graph.set_image(row, first - slot.cached, *image.features, first - image.start, end - first);
    }
  }

  // What a failed step has written may be anything.
  void undo() {
    for (int row = 0; row < config.slots; ++row) slot(row).unclean = true;
    for (int row = 0; row < config.slots; ++row) {
      Slot& slot = this->slot(row);
      const int end = slot.cached + std::max(reach(), std::exchange(slot.planned, 0));
      graph.cache().clear(row, slot.cached, std::min(graph.cache().length(), end));
      slot.unclean = false;
    }
  }

  // Tokens that a run may have written behind what a row caches.
  [[nodiscard]] int reach() const noexcept { return std::max(2, 1 + graph.draft_tokens()); }

  // Forgets what a row caches from `first` on, and what a run may have written behind it. On a
  // device this may fail; the row is then zeroed by the next step.
  void clear(int row, int first) {
    Slot& slot = this->slot(row);
    const int length = graph.cache().length();
    const int end = slot.unclean ? length : slot.cached + reach();
    slot.cached = first;
    slot.unclean = true;
    graph.cache().clear(row, first, std::min(length, end));
    slot.unclean = false;
  }

  [[nodiscard]] StopReason stop_reason(const Slot& slot, std::int64_t token) const noexcept {
    const auto& ends = config.eos_token_ids;
    if (std::ranges::find(ends, token) != ends.end()) return StopReason::kEndOfText;
    const int answered = static_cast<int>(slot.ids.size()) - slot.prompt;
    if (answered >= slot.max_new_tokens) return StopReason::kLength;
    return slot.cached >= config.cache_length ? StopReason::kCacheFull : StopReason::kNone;
  }

  // The next token of the answer; -1 where its grammar has failed.
  [[nodiscard]] std::int64_t draw(Slot& slot, const TokenOut& out) {
    const auto index = static_cast<std::uint64_t>(out.index);
    if (!slot.state) {
      const std::int64_t token = sample(out.logits, slot.sampling, index);
      const auto id = static_cast<std::size_t>(token);
      if (permitted.empty() || (permitted[id / 32] >> (id % 32) & 1U) != 0) return token;
      return sample_allowed(out.logits, permitted, slot.sampling, index);
    }
    const int corrected = slot.state->corrected();
    try {
      const std::int64_t token = slot.state->pick(out.logits, slot.sampling, index);
      ++counters.constrained_tokens;
      counters.corrected_tokens += static_cast<std::uint64_t>(slot.state->corrected() - corrected);
      if (slot.state->let_go()) slot.state.reset();
      return token;
    } catch (const std::exception& error) {
      slot.problem = error.what();
      return -1;
    }
  }

  void commit(int row, std::vector<TokenOut>& out) {
    Slot& slot = this->slot(row);
    const int planned = std::exchange(slot.planned, 0);
    if (slot.prefilling()) {
      slot.cached += planned;
      if (!slot.prefilling()) take(row, graph.logits(row), out);
      return;
    }
    int taken = 0;
    do {
      ++slot.cached;
      take(row, graph.logits(row, taken), out);
      ++taken;
    } while (slot.running && taken < planned && slot.ids.back() == slot.draft[size(taken - 1)]);
    if (planned > 1) judge_draft(row, taken, planned);
  }

  // `taken` of `planned` tokens have been drawn: all of these but the last one were guessed.
  void judge_draft(int row, int taken, int planned) {
    Slot& slot = this->slot(row);
    counters.drafted_tokens += static_cast<std::uint64_t>(planned - 1);
    counters.accepted_tokens += static_cast<std::uint64_t>(taken - 1);
    if (taken == planned) {
      slot.draft_limit = std::min(2 * slot.draft_limit, kMostDraft);
    } else if (2 * taken < planned) {
      slot.draft_limit = std::max(1, slot.draft_limit / 2);
    }
    // A wrong guess may have left numbers that are not finite behind what the row caches.
    for (int i = taken; i < planned; ++i) {
      if (!all_finite(graph.logits(row, i))) return clear(row, slot.cached);
    }
  }

  // The next token of the row's answer, from its logits.
  void take(int row, std::span<const float> logits, std::vector<TokenOut>& out) {
    Slot& slot = this->slot(row);
    TokenOut token;
    token.sequence = slot.id;
    token.index = static_cast<int>(slot.ids.size()) - slot.prompt;
    token.logits = logits;
    const bool finite = all_finite(token.logits);
    token.token = finite ? draw(slot, token) : -1;
    if (token.token >= 0) {
      slot.ids.push_back(token.token);
      token.stop = stop_reason(slot, token.token);
      ++counters.tokens;
    } else {
      token.stop = finite ? StopReason::kGrammar : StopReason::kNonFinite;
      token.problem = finite ? std::string_view(slot.problem) : std::string_view();
      if (!finite) clear(row, 0);
      ++counters.failed_sequences;
    }
    slot.running = token.stop == StopReason::kNone;
    out.push_back(token);
  }

  void step(std::vector<TokenOut>& out) {
    out.clear();
    out.reserve(slots.size() + size(graph.draft_tokens()));
    for (int row = 0; row < config.slots; ++row) {
      if (slot(row).unclean) clear(row, slot(row).cached);
    }
    compact();
    const auto [first, end] = decode_range();
    const int width = draft(first, end);
    fit(width);
    try {
      const StopSwitch::Work work(stop);
      run_decode(first, end, width);
      run_prefill();  // after the decoding rows, which may have run over rows in prefill
    } catch (...) {
      undo();
      throw;
    }
    bool advanced = false;
    for (int row = 0; row < config.slots; ++row) {
      if (slot(row).planned == 0) continue;
      advanced = true;
      commit(row, out);
    }
    counters.steps += advanced ? 1U : 0U;
  }
};

// ---- BatchedDecoder -----------------------------------------------------------------------

BatchedDecoder::BatchedDecoder(const std::string& path, const DecoderConfig& config,
                               const SessionOptions& options)
    : impl_(std::make_unique<Impl>(path, config, options)) {}

BatchedDecoder::~BatchedDecoder() = default;

int BatchedDecoder::free_slots() const noexcept {
  return static_cast<int>(std::ranges::count_if(impl_->slots, &Slot::free));
}

int BatchedDecoder::active() const noexcept {
  return static_cast<int>(std::ranges::count_if(impl_->slots, &Slot::running));
}

SequenceId BatchedDecoder::admit(const Prompt& prompt) { return impl_->admit(prompt); }

void BatchedDecoder::step(std::vector<TokenOut>& out) { impl_->step(out); }

void BatchedDecoder::release(SequenceId sequence) noexcept {
  for (int row = 0; row < impl_->config.slots; ++row) {
    Slot& slot = impl_->slot(row);
    if (sequence == 0 || slot.id != sequence) continue;
    if (slot.prefilling()) {
      // No logits have shown yet that what it cached is finite.
      try {
        impl_->clear(row, 0);
      } catch (const std::exception&) {
        // It is unclean: the next step tries again.
      }
    }
    if (impl_->graph.draft_tokens() > 0 && slot.cached >= slot.prompt) {
      try {
        impl_->lookup.keep(std::span(slot.ids).subspan(size(slot.prompt)));
      } catch (const std::exception&) {
        // No guesses from this answer.
      }
    }
    slot.cached = std::min(slot.cached, slot.prompt);  // no answer is reused
    slot.id = 0;
    slot.running = false;
    slot.planned = 0;  // where a step was left by an exception
    slot.state.reset();
    slot.grammar.reset();
    slot.last_used = ++impl_->clock;
    return;
  }
}

void BatchedDecoder::terminate() noexcept { impl_->stop.stop(); }

BatchedDecoder::Counters BatchedDecoder::counters() const noexcept { return impl_->counters; }

}  // namespace irt
