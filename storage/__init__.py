"""What is kept: threads, messages, runs, steps, events, ledger, approvals and checkpoints, in one database.

`store.Store` opens the database and hands out transactions. Every other public module is a repository: functions
that take the transaction's Session first. Nothing here knows LangGraph; `openhearth.agents.saver` does.
"""
