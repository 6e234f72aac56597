"""From a teacher and some generators to the data that planner and critic are trained with.

A run is a folder. Two stages ask the teacher and fill journals; the others are functions of the recipe and these, and leave
files that no stage reads:

    taxonomy  -> taxonomy.jsonl     the sub-categories that the recipe asks for
    banks     -> banks.log          words of every sub-category: seeds, and what the teacher adds
    prompts   -> prompts.jsonl      templates filled with words, balanced, near-duplicates refused
    trajectories -> trajectories.log, scores.log, pictures/
                                    the engine's own runs, the teacher as planner and critic; its scores of every attempt
    build     -> sets/              by rule, which attempts are worth learning from (`select`): the files to train with, their
                                    card and a page of samples

**Journals** (`journal`) are append-only: a line is a checksum and a JSON object with `key` and `outcome`. A line that was
cut off at the end is dropped when the journal is opened; a wrong one before that is an error. Nothing else is kept of a
stage: what is to do is "items without a line", and manifest and counts are computed from the lines.

**Keys** are hashes of everything that determines an item: a word request of teacher, sub-category, bank and round; a prompt of
its text; a trajectory of prompt, teacher, generator and options; a score of the two pictures and the wish. So a stage is a
pure function of the journals before it, in any order of completion; a run that was killed goes on, and a setting that was
changed makes new items and uses the old ones where they fit.

**Outcomes** are `kept`, `dropped` (with the `rule`), `unreadable` (asked so often that it is given up) and `failed` (the call
went wrong; made again by the next run). A stage with a journal ends by asserting that its items are the sum of
these.

**Replies** of the teacher are a journal too (`replies.log`), with their tokens: nothing is paid for twice, and what was
spent is the sum of its lines. **Pictures** lie under the hash of their pixels.
"""
