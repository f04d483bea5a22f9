"""The executor SDK: what stands between an engine and Pilothouse.

An executor reports what the engine does, and takes the commands that operators give it:

    from pilothouse.executor import CommandRefused, Executor
    from pilothouse.v1.commands_pb2 import Command, CommandBoundary
    from pilothouse.v1.enums_pb2 import ControlAction

    executor = Executor("127.0.0.1:50051", source="my-engine")

    @executor.on(ControlAction.CONTROL_ACTION_PAUSE, boundary=CommandBoundary.COMMAND_BOUNDARY_STEP)
    async def pause(command: Command) -> None:
        run = engine.find(command.workflow_id)
        if run is None:
            raise CommandRefused("UNKNOWN_RUN", "this engine does not run it any more")
        run.pause_at_next_step(command)      # the engine later says run.paused(command): then the command is EFFECTIVE

    async with executor:
        agent = executor.agent("builder-1", agent_type="builder", capacity=4, heartbeat_every=10)
        run = executor.workflow("wf-1", workflow_type="feature", name="Login page", stage_plan=["build", "test"])
        with run:
            with run.stage("build"), run.task("compile", stage="build", agent=agent):
                ...

Reports never wait: `report()` puts an event into a buffer in memory and returns. A task of the executor delivers them in order, in
batches, and repeats a batch with the same event ids until the server has it durably, so that each counts exactly once. The buffer is
bounded and not kept on disk: what is in it when the process dies is lost, and when it is full new events are dropped, counted and
logged (`on_full="raise"`: refused with BufferFull). `close()` says what could not be delivered.

Commands survive broken streams. A command is accepted (AcceptCommand) before the engine sees it, and the engine of one process sees it
once; after a crash of the process it is offered again. A handler that returns has only taken the command: it is EFFECTIVE when the
engine reports the event that shows it (`run.paused(command)`), and FAILED at once when the handler raises.
"""
